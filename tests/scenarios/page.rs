//! The web page of a running agent, by its own state and what it saw.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use enforcer_tests::lab::{Party, Topology};
use serde_json::{Value, json};

use crate::agent::isolate_server;
use crate::scene::{CLOSED, Scene, Setup, until};

const PAGE: &[&str] = &["--page", "127.0.0.1:9470"];

/// The head and the body of an answer on the first node.
async fn ask(scene: &Scene, line: &str, host: &str, body: Option<Value>) -> (String, String) {
    let body = body.map(|it| it.to_string()).unwrap_or_default();
    let request =
        format!("{line} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = scene.lab().nodes()[0].namespace().run(move || {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], 9470)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    let answer = answer.await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

async fn document(scene: &Scene, line: &str, body: Option<Value>) -> Value {
    let (head, body) = ask(scene, line, "localhost", body).await;
    assert!(head.contains(" 200 "), "{line}: {head}");
    serde_json::from_str(&body).unwrap()
}

async fn shown(scene: &mut Scene) {
    isolate_server(scene).await;
    let (client, server) = (Party::pod("shop", "client"), Party::pod("shop", "server"));
    scene.expect(&client, &server, CLOSED).await;
    let model = document(scene, "GET /api/model", None).await;
    assert!(model["source"].as_str().unwrap().starts_with("agent of node"), "{model}");
    let names: Vec<&str> =
        model["pods"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["shop/client", "shop/server"]);
    assert_eq!(model["policies"][0]["name"], "shop/nothing-in");
    let question = json!({ "from": "shop/client", "to": "shop/server:80" });
    let answer = document(scene, "POST /api/explain", Some(question)).await;
    assert_eq!(answer["verdict"], "denied", "{answer}");
    let change = json!({ "remove": ["shop/nothing-in"] });
    let diff = document(scene, "POST /api/diff", Some(change)).await;
    assert_eq!(diff["opened"][0]["to"], "shop/server", "{diff}");
    let name = json!({ "name": "shop/nothing-in" });
    let policy = document(scene, "POST /api/policy", Some(name)).await;
    assert!(policy["manifest"].as_str().unwrap().contains("kind: NetworkPolicy"), "{policy}");
    until("it saw the attempt", async || {
        let activity = document(scene, "GET /api/activity", None).await;
        let flows = activity["flows"][0]["flows"].as_array().unwrap();
        let is_it = |it: &Value| it["to"] == "shop/server" && it["verdict"] == "denied";
        flows.iter().any(is_it) && !activity["drops"].as_array().unwrap().is_empty()
    })
    .await;
    let (head, page) = ask(scene, "GET /", "127.0.0.1:9470", None).await;
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(page.starts_with("<!doctype html>") || page.starts_with("<!DOCTYPE html>"), "{page}");
    let (head, _) = ask(scene, "GET /api/model", "rebound.example.org", None).await;
    assert!(head.contains(" 403 "), "{head}");
}

scenarios! {
    the_agents_page_shows_its_state: Setup::with(Topology::Kubenet, PAGE) => shown;
}
