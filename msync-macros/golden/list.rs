#[locked(["account-{from}", "account-{to}"], max_hold = MOST, crate = my::msync)]
async fn transfer(from: Id, to: Id) -> Result<impl Iterator<Item = Entry>, Error> {
    book(from, to).await
}
// becomes
async fn transfer(from: Id, to: Id) -> Result<impl Iterator<Item = Entry>, Error> {
    let __msync_config = my::msync::unstable::private::Config::new().max_hold(MOST);
    let __msync_name = [
        my::msync::unstable::private::Name::format(
                ::core::format_args!("account-{}", from),
            )
            .labelled("account-{from}"),
        my::msync::unstable::private::Name::format(
                ::core::format_args!("account-{}", to),
            )
            .labelled("account-{to}"),
    ];
    let __msync_done = my::msync::unstable::private::run_all(
            &__msync_config,
            __msync_name,
            move |_| async move {
                if let ::core::option::Option::Some(__msync_value) = ::core::option::Option::None::<
                    Result<_, Error>,
                > {
                    #[allow(unreachable_code)] return __msync_value;
                }
                #[allow(clippy::shadow_same, clippy::shadow_reuse)]
                let from = from;
                let _ = &from;
                #[allow(clippy::shadow_same, clippy::shadow_reuse)]
                let to = to;
                let _ = &to;
                #[allow(clippy::diverging_sub_expression)]
                let __msync_value: Result<_, Error> = { book(from, to).await };
                #[allow(unreachable_code)] __msync_value
            },
        )
        .await;
    match __msync_done {
        ::core::result::Result::Ok(__msync_value) => __msync_value,
        ::core::result::Result::Err(__msync_missed) => {
            <Result<
                _,
                Error,
            > as my::msync::unstable::private::OrError>::missed(__msync_missed)
        }
    }
}
