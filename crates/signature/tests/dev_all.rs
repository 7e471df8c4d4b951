use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signature::*;
#[test]
fn all() {
    let rows: std::collections::BTreeMap<String, String> =
        serde_json::from_str(&std::fs::read_to_string("/tmp/sigdev_rows.json").unwrap()).unwrap();
    let vs: Vec<serde_json::Value> = serde_json::from_str(
        &std::fs::read_to_string("/work/shared/signatures/vectors.json").unwrap(),
    )
    .unwrap();
    let mut ps = std::collections::BTreeMap::new();
    for (n, r) in &rows {
        match Provider::parse(n, r) {
            Ok(p) => {
                ps.insert(n.clone(), p);
            }
            Err(e) => println!("PARSE {e}"),
        }
    }
    ps.insert(
        "cloudvno".into(),
        Catalogue::builtin().get("cloudvno").unwrap().clone(),
    );
    let (mut ok, mut bad, mut none, mut hok, mut hbad) =
        (0, 0, std::collections::BTreeMap::new(), 0, 0);
    for v in &vs {
        let name = v["provider"].as_str().unwrap();
        let Some(p) = ps.get(name) else {
            *none.entry(name.to_string()).or_insert(0) += 1;
            continue;
        };
        let mut keys = Keys::default();
        if let Some(s) = v["secret"].as_str() {
            keys.secrets.push(Secret::new(s.into()));
        }
        if let Some(l) = v["secrets"].as_array() {
            for s in l {
                keys.secrets.push(Secret::new(s.as_str().unwrap().into()));
            }
        }
        if let Some(c) = v["config"].as_object() {
            for (k, x) in c {
                keys.config.insert(k.clone(), x.as_str().unwrap().into());
            }
        }
        let hs: Vec<(&[u8], &[u8])> = v["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|h| {
                (
                    h[0].as_str().unwrap().as_bytes(),
                    h[1].as_str().unwrap().as_bytes(),
                )
            })
            .collect();
        let body = STANDARD.decode(v["body_base64"].as_str().unwrap()).unwrap();
        let m = Message {
            method: v["method"].as_str().unwrap(),
            url: v["url"].as_str().unwrap(),
            headers: &hs,
            body: &body,
            at: v["now"].as_i64().unwrap(),
        };
        let j = p.verify(&m, &keys);
        if j.verdict.as_str() == v["expect"].as_str().unwrap() {
            ok += 1
        } else {
            bad += 1;
            println!(
                "BAD {} expect {} got {:?} {:?} | {}",
                v["id"], v["expect"], j.verdict, j.why, v["why"]
            );
        }
        let c = Context {
            other_hosts: vec!["hooks.example.com".into()],
            other_providers: vec![],
        };
        let h = p.explain(&m, &keys, &c);
        if let Some(want) = v["hint"].as_str() {
            if h.as_ref().is_some_and(|h| h.code == want) {
                hok += 1
            } else {
                hbad += 1;
                println!("HINT {} want {want} got {h:?}", v["id"]);
            }
        }
    }
    println!("ok {ok} bad {bad} hints ok {hok} bad {hbad} unsupported {none:?}");
}
