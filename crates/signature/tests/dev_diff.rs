use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signature::*;
#[test]
fn diff() {
    let vs: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string("/tmp/sigdev_diff.json").unwrap()).unwrap();
    let c = Catalogue::builtin();
    let p = c.get("cloudvno").unwrap();
    let s = Secret::new("k".into());
    let (mut same, mut none, mut bad) = (0, 0, 0);
    for v in &vs {
        let body = STANDARD.decode(v["body"].as_str().unwrap()).unwrap();
        let ct = v["ct"].as_str().unwrap();
        let h: &[(&[u8], &[u8])] = &[(b"Content-Type", ct.as_bytes())];
        let got = p.sign(Unsigned { method: "POST", url: v["url"].as_str().unwrap(), headers: h, body: &body, id: "" }, &s, 0).ok().map(|h| h[0].1.clone());
        match (got.as_deref(), v["sig"].as_str()) {
            (a, b) if a == b => if a.is_some() { same += 1 } else { none += 1 },
            (a, b) => { bad += 1; if bad < 10 { println!("BAD {ct} {:?} {a:?} {b:?}", String::from_utf8_lossy(&body)); } }
        }
    }
    println!("same {same} both refuse {none} bad {bad}");
}
