//! A browser with the page.

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use enforcer::page::{Activity, Clusters, NoActivity, Page, serve};
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The longest wait for something that the page does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A tab of a browser.
pub(crate) struct Tab(pub(crate) Client);

impl Tab {
    /// The value of an expression.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.0.execute(&script, Vec::new()).await.unwrap()
    }

    /// The text of the first element.
    pub(crate) async fn text(&self, selector: &str) -> String {
        self.element(selector).await.text().await.unwrap()
    }

    pub(crate) async fn element(&self, selector: &str) -> fantoccini::elements::Element {
        let wait = self.0.wait().at_most(PATIENCE).every(Duration::from_millis(50));
        wait.for_element(Locator::Css(selector))
            .await
            .unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.element(selector).await.click().await.unwrap();
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&self, expression: &str) {
        let truth = async {
            while self.value(expression).await != json!(true) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, truth).await.is_err() {
            let page = self.value("document.body.innerText").await;
            panic!("{expression} does not become true; the page: {page}");
        }
    }

    /// Sends keys to the element with the focus.
    pub(crate) async fn keys(&self, keys: &str) {
        let typed = async || self.0.active_element().await?.send_keys(keys).await;
        // A panel that closes has the focus for a moment, but takes no keys.
        let until = Instant::now() + PATIENCE;
        while let Err(error) = typed().await {
            assert!(error.is_element_not_interactable() && Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn key(&self, key: Key) {
        self.keys(&char::from(key).to_string()).await;
    }

    /// Goes to a view.
    pub(crate) async fn view(&self, name: &str) {
        self.click(&format!("#tab-{name}")).await;
        self.element(&format!("#tab-{name}[aria-current]")).await;
    }

    /// Chooses `light` or `dark`.
    pub(crate) async fn theme(&self, theme: &str) {
        while self.value("document.documentElement.dataset.theme").await != json!(theme) {
            self.click("#theme").await;
        }
    }

    /// Writes a picture for the documents, if they are wanted.
    pub(crate) async fn picture(&self, name: &str) {
        if let Some(folder) = std::env::var_os("ENFORCER_SCREENSHOTS") {
            // The tests run in their package's folder.
            let folder = Path::new("..").join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            let picture = self.0.screenshot().await.unwrap();
            std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        }
    }
}

/// The driver; its end is this one's.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn driver() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ENFORCER_CHROMEDRIVER") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|it| it.join("chromedriver")).find(|it| it.is_file())
}

/// Starts the driver on a free port. Returns the port, too.
fn start(path: &Path) -> (Driver, String) {
    let mut command = Command::new(path);
    command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let driver = Driver(child);
    let port = output.lines().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        Some(port.trim_end_matches('.').to_owned())
    });
    (driver, port.unwrap_or_else(|| panic!("chromedriver did not start")))
}

/// Opens a URL in a browser, if there is one, and runs a test in it.
pub(crate) async fn open<F>(url: &str, test: impl FnOnce(Tab) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let Some(path) = driver() else {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: no chromedriver; apt-get install chromium chromium-driver");
        }
        return;
    };
    let (_driver, port) = start(&path);
    // Chromium's own sandbox does not work for root.
    let arguments = json!([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--force-color-profile=srgb",
        "--window-size=1440,900"
    ]);
    let options = json!({ "browserName": "chrome", "goog:chromeOptions": { "args": arguments } });
    let Value::Object(capabilities) = options else { return };
    let client = ClientBuilder::new(HttpConnector::new())
        .capabilities(capabilities)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await
        .unwrap();
    client.goto(url).await.unwrap();
    // The browser ends, however the test does.
    let ended = tokio::spawn(test(Tab(client.clone()))).await;
    client.close().await.unwrap();
    if let Err(error) = ended {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Serves a page about a cluster and runs a test in it.
pub(crate) async fn with<F>(clusters: impl Clusters, test: impl FnOnce(Tab) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    with_activity(clusters, NoActivity, test).await;
}

/// Likewise, with agents.
pub(crate) async fn with_activity<F>(
    clusters: impl Clusters,
    activity: impl Activity,
    test: impl FnOnce(Tab) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let page = Page::new(Arc::new(clusters), Arc::new(activity));
    let (stop, stopped) = oneshot::channel::<()>();
    let served = serve(listener, page, async { drop(stopped.await) }).unwrap();
    let server = tokio::spawn(served.serving);
    open(&served.url, test).await;
    drop(stop);
    server.await.unwrap().unwrap();
}
