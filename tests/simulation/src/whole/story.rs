//! What episodes amount to.

/// What an episode, or a run of them, amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// Episodes played.
    pub episodes: u64,
    /// Acquisitions: guards, bodies that ran, terms of leaders.
    pub acquisitions: u64,
    /// Of them without a write, from another task of the same process.
    pub local: u64,
    /// Acquisitions that were given up, or found the lock busy.
    pub in_vain: u64,
    /// Acquisitions that were alive and not polled for a while.
    pub neglected: u64,
    /// Losses that a user was told of.
    pub losses: u64,
    /// Writes to the fenced register that it took.
    pub written: u64,
    /// Writes that it refused, of holders who went on after their loss.
    pub fenced_off: u64,
    /// Calls to the store.
    pub calls: u64,
    /// Of them about sessions.
    pub of_sessions: u64,
    /// Acquisitions that stood under a session at once.
    pub sheltered: u64,
    /// Processes frozen.
    pub freezes: u64,
    /// Processes killed, and started again.
    pub crashes: u64,
    /// Clients shut down in good order, and started again.
    pub shutdowns: u64,
    /// A digest of all that was sent, acquired and lost, in its order: the same for the same seed.
    pub trace: u64,
}

// === impl Story ===

impl Story {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.episodes += other.episodes;
        self.acquisitions += other.acquisitions;
        self.local += other.local;
        self.in_vain += other.in_vain;
        self.neglected += other.neglected;
        self.losses += other.losses;
        self.written += other.written;
        self.fenced_off += other.fenced_off;
        self.calls += other.calls;
        self.of_sessions += other.of_sessions;
        self.sheltered += other.sheltered;
        self.freezes += other.freezes;
        self.crashes += other.crashes;
        self.shutdowns += other.shutdowns;
        self.trace = self.trace.rotate_left(1) ^ other.trace;
    }
}
