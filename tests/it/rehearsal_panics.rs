//! A change is rehearsed before it is made. A panic of the rehearsal is one fault, not two.

use std::sync::Arc;

use plimsoll::deploy::manifest::Manifest;
use plimsoll::deploy::{Release, ReleaseSource};
use plimsoll_tests::{Site, stamped, stamped_reply};

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_rehearsal_is_counted_once_and_the_next_change_is_made() {
    let site = Site::new("");
    let server = site.serve().await;
    plimsoll::base::panics::log_panics();
    let before = plimsoll::base::panics::panics();
    let release = Release::new("stamp", None, stamped(1).into(), Manifest::default(), ReleaseSource::Http);
    let release = release.expect("a release");
    let change = Arc::clone(&server.app.deployments).build(move |build| {
        let rehearsed = release.clone();
        build.make(
            &async |serving, deployer| {
                deployer.rehearse_deploy(serving, &rehearsed).await;
                panic!("on purpose")
            },
            // The change does the same work again, and panics in the same way.
            async |serving, deployer| {
                deployer.deploy(serving, release, "test").await.map(|state| panic!("on purpose, too: {state:?}"))
            },
        )
    });
    let result: Result<Result<(), _>, _> = tokio::spawn(change).await;
    let panic = result.expect_err("the change panics").into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"), "the panic of the rehearsal continues");
    assert_eq!(plimsoll::base::panics::panics(), before + 1);
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains(&format!("plimsoll_panics_total {}\n", before + 1)), "{metrics}");

    let plugin = server.get("/v1/plugins/stamp").await.json();
    let versions = plugin["versions"].as_array().expect("a list");
    assert!(versions.iter().all(|version| version["state"] != "compiling"), "{plugin}");
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(2)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(2));
}
