//! What passes whatever the rules say.

use super::{
    told::{assert_told_in, told_all},
    *,
};

#[test]
fn what_is_essential_is_what_the_gateway_lists() {
    let with = |list: &str| {
        let policy = parsed(&format!("[gateway]\ninterfaces = ['lan0']\nessential = {list}\n"));
        let compiled = policy.compile();
        let head = classifier::Lines::head(&compiled.image[..]).expect("a head");
        assert_eq!(head.essential, policy.essential());
        policy.essential()
    };
    assert_eq!(with("[]"), 0);
    for (name, essential) in Essential::ALL {
        assert_eq!(with(&format!("['{name}', '{name}']")), essential as u32);
    }
    assert_eq!(with("['arp', 'neighbour-discovery', 'dhcp-client']"), Essential::DEFAULT);
}

#[test]
fn what_is_essential() {
    let text = "[gateway]\ninterfaces = ['lan0']\nessential = ['arp', 'neighbor-discovery', 'dns']";
    let told = told_all(text);
    let told: Vec<_> = told.iter().map(|it| (it.column, &it.message[..], &it.help[..])).collect();
    assert_eq!(
        told,
        [
            (
                21,
                "there is no essential traffic `neighbor-discovery`",
                "did you mean `neighbour-discovery`?"
            ),
            (
                43,
                "there is no essential traffic `dns`",
                "each essential traffic that there is: `arp`, `dhcp-client`, `dhcp-server`, \
                 `neighbour-discovery`"
            ),
        ]
    );
    let message = "`essential` must be a list of strings, not a string";
    let text = "[gateway]\ninterfaces = ['lan0']\nessential = 'arp'";
    assert_told_in(text, (3, 13), "'arp'", message, "");
}
