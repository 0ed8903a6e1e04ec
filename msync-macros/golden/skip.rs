#[locked("mails", wait = none, on_busy = skip, on_lost = signal, at_least = "10s")]
async fn send_mails() {
    send().await;
}
// becomes
async fn send_mails() {
    let __msync_config = ::msync::unstable::private::Config::new()
        .at_least(::core::time::Duration::from_millis(10000u64))
        .try_once()
        .on_lost_signal();
    let __msync_name = ::msync::unstable::private::Name::fixed("mails");
    let __msync_done = ::msync::unstable::private::run(
            &__msync_config,
            __msync_name,
            move |_| async move {
                #[allow(clippy::diverging_sub_expression)]
                let () = {
                    send().await;
                };
            },
        )
        .await;
    match __msync_done {
        ::core::result::Result::Ok(__msync_value) => __msync_value,
        ::core::result::Result::Err(__msync_missed) => {
            <() as ::msync::unstable::private::OrSkip>::missed(__msync_missed)
        }
    }
}
