#[locked("invoice-{id:>08}-{self.shop.name}", ttl = "1m30s", wait = "5s", via = self.client)]
pub async fn settle(&self, id: u64, mut amount: Amount) -> Result<Receipt, Error> {
    amount.round();
    self.pay(id, amount).await
}
// becomes
pub async fn settle(&self, id: u64, amount: Amount) -> Result<Receipt, Error> {
    let __msync_config = ::msync::unstable::private::Config::new()
        .ttl(::core::time::Duration::from_millis(90000u64))
        .wait(::core::time::Duration::from_millis(5000u64))
        .via(&self.client);
    let __msync_name = ::msync::unstable::private::Name::format(
            ::core::format_args!("invoice-{:>08}-{}", id, self.shop.name),
        )
        .labelled("invoice-{id:>08}-{self.shop.name}");
    let __msync_done = ::msync::unstable::private::run(
            &__msync_config,
            __msync_name,
            move |_| async move {
                if let ::core::option::Option::Some(__msync_value) = ::core::option::Option::None::<
                    Result<Receipt, Error>,
                > {
                    #[allow(unreachable_code)] return __msync_value;
                }
                let _ = &self;
                #[allow(clippy::shadow_same, clippy::shadow_reuse)]
                let id = id;
                let _ = &id;
                #[allow(clippy::shadow_same, clippy::shadow_reuse)]
                let mut amount = amount;
                #[allow(clippy::diverging_sub_expression)]
                let __msync_value: Result<Receipt, Error> = {
                    amount.round();
                    self.pay(id, amount).await
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
