use msync::leader_only;

#[leader_only]
async fn no_name() {}

#[leader_only(["a", "b"])]
async fn a_list() {}

#[leader_only("a", max_hold = "30s")]
async fn an_option_of_locked() {}

#[leader_only("a", on_folower = wait)]
async fn misspelt() {}

#[leader_only("a", on_follower = run)]
async fn unknown_choice() {}

#[leader_only("a")]
fn not_async() {}

fn main() {}
