#[locked("invoices")]
async fn settle(amount: Amount) -> Result<Receipt, Error> {
    let receipt = bank().pay(amount).await?;
    Ok(receipt)
}
// becomes
async fn settle(amount: Amount) -> Result<Receipt, Error> {
    let __msync_config = ::msync::unstable::private::Config::new();
    let __msync_name = ::msync::unstable::private::Name::fixed("invoices");
    let __msync_done = ::msync::unstable::private::run(
            &__msync_config,
            __msync_name,
            move |_| async move {
                if let ::core::option::Option::Some(__msync_value) = ::core::option::Option::None::<
                    Result<Receipt, Error>,
                > {
                    #[allow(unreachable_code)] return __msync_value;
                }
                #[allow(clippy::shadow_same, clippy::shadow_reuse)]
                let amount = amount;
                #[allow(clippy::diverging_sub_expression)]
                let __msync_value: Result<Receipt, Error> = {
                    let receipt = bank().pay(amount).await?;
                    Ok(receipt)
                };
                #[allow(unreachable_code)] __msync_value
            },
        )
        .await;
    match __msync_done {
        ::core::result::Result::Ok(__msync_value) => __msync_value,
        ::core::result::Result::Err(__msync_missed) => {
            <Result<
                Receipt,
                Error,
            > as ::msync::unstable::private::OrError>::missed(__msync_missed)
        }
    }
}
