//! The Metaparticle/Sync HTTP protocol on the msync engine. It is not built yet.
