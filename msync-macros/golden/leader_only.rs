#[leader_only("scheduler", on_follower = wait, guard = term)]
async fn tick(self: Arc<Self>) -> Result<(), Error> {
    self.schedule(term.token()).await
}
// becomes
async fn tick(self: Arc<Self>) -> Result<(), Error> {
    let __msync_config = ::msync::unstable::private::Config::new().on_follower_wait();
    let __msync_name = ::msync::unstable::private::Name::fixed("scheduler");
    let __msync_done = ::msync::unstable::private::lead(
            &__msync_config,
            __msync_name,
            move |__msync_lease| async move {
                if let ::core::option::Option::Some(__msync_value) = ::core::option::Option::None::<
                    Result<(), Error>,
                > {
                    #[allow(unreachable_code)] return __msync_value;
                }
                let _ = &self;
                let term = __msync_lease;
                #[allow(clippy::diverging_sub_expression)]
                let __msync_value: Result<(), Error> = {
                    self.schedule(term.token()).await
                };
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
}
