#[locked("job-{id}", guard = lease)]
fn work<'life0, 'async_trait>(
    &'life0 self,
    id: u32,
) -> ::core::pin::Pin<Box<dyn ::core::future::Future<Output = Result<u32, Error>> + ::core::marker::Send + 'async_trait>>
where
    'life0: 'async_trait,
    Self: 'async_trait,
{
    Box::pin(async move {
        let __self = self;
        let id = id;
        let __ret: Result<u32, Error> = { __self.work_on(id, lease.token()).await };
        __ret
    })
}
// becomes
fn work<'life0, 'async_trait>(
    &'life0 self,
    id: u32,
) -> ::core::pin::Pin<
    Box<
        dyn ::core::future::Future<
            Output = Result<u32, Error>,
        > + ::core::marker::Send + 'async_trait,
    >,
>
where
    'life0: 'async_trait,
    Self: 'async_trait,
{
    Box::pin(async move {
        let __msync_config = ::msync::unstable::private::Config::new();
        let __msync_name = ::msync::unstable::private::Name::format(
                ::core::format_args!("job-{}", id),
            )
            .labelled("job-{id}");
        let __msync_done = ::msync::unstable::private::run(
                &__msync_config,
                __msync_name,
                move |__msync_lease| {
                    let lease = __msync_lease;
                    async move {
                        let __self = self;
                        let id = id;
                        let __ret: Result<u32, Error> = {
                            __self.work_on(id, lease.token()).await
                        };
                        __ret
                    }
                },
            )
            .await;
        match __msync_done {
            ::core::result::Result::Ok(__msync_value) => __msync_value,
            ::core::result::Result::Err(__msync_missed) => {
                <Result<
                    u32,
                    Error,
                > as ::msync::unstable::private::OrError>::missed(__msync_missed)
            }
        }
    })
}
