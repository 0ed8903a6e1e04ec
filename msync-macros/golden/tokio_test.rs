#[locked("test")]
fn test() -> Result<(), Error> {
    let body = async { Ok(()) };
    Runtime::new().block_on(body)
}
// becomes
fn test() -> Result<(), Error> {
    let body = async {
        let __msync_config = ::msync::unstable::private::Config::new();
        let __msync_name = ::msync::unstable::private::Name::fixed("test");
        let __msync_done = ::msync::unstable::private::run(
                &__msync_config,
                __msync_name,
                move |_| async move {
                    if let ::core::option::Option::Some(__msync_value) = ::core::option::Option::None::<
                        Result<(), Error>,
                    > {
                        #[allow(unreachable_code)] return __msync_value;
                    }
                    #[allow(clippy::diverging_sub_expression)]
                    let __msync_value: Result<(), Error> = { Ok(()) };
                    #[allow(unreachable_code)] __msync_value
                },
            )
            .await;
        match __msync_done {
            ::core::result::Result::Ok(__msync_value) => __msync_value,
            ::core::result::Result::Err(__msync_missed) => {
                <Result<
                    (),
                    Error,
                > as ::msync::unstable::private::OrError>::missed(__msync_missed)
            }
        }
    };
    Runtime::new().block_on(body)
}
