#[locked(name = KEY, guard = lease)]
async fn patterns<T: Clone>((a, b): (T, T), _: Token, #[allow(unused)] c: u8, #[cfg(unix)] d: u8) -> Result<T, Error>
where
    T: Send,
{
    lease.check()?;
    Ok(b)
}
// becomes
async fn patterns<T: Clone>(
    __msync_arg0: (T, T),
    __msync_arg1: Token,
    c: u8,
    #[cfg(unix)]
    d: u8,
) -> Result<T, Error>
where
    T: Send,
{
    let __msync_config = ::msync::unstable::private::Config::new();
    let __msync_name = ::msync::unstable::private::Name::of(&KEY);
    let __msync_done = ::msync::unstable::private::run(
            &__msync_config,
            __msync_name,
            move |__msync_lease| async move {
                if let ::core::option::Option::Some(__msync_value) = ::core::option::Option::None::<
                    Result<T, Error>,
                > {
                    #[allow(unreachable_code)] return __msync_value;
                }
                let __msync_arg0 = __msync_arg0;
                let (a, b) = __msync_arg0;
                let __msync_arg1 = __msync_arg1;
                #[allow(unused)]
                #[allow(clippy::shadow_same, clippy::shadow_reuse)]
                let c = c;
                #[cfg(unix)]
                #[allow(clippy::shadow_same, clippy::shadow_reuse)]
                let d = d;
                let lease = __msync_lease;
                #[allow(clippy::diverging_sub_expression)]
                let __msync_value: Result<T, Error> = {
                    lease.check()?;
                    Ok(b)
                };
                #[allow(unreachable_code)] __msync_value
            },
        )
        .await;
    match __msync_done {
        ::core::result::Result::Ok(__msync_value) => __msync_value,
        ::core::result::Result::Err(__msync_missed) => {
            <Result<
                T,
                Error,
            > as ::msync::unstable::private::OrError>::missed(__msync_missed)
        }
    }
}
