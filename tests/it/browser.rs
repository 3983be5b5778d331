//! A real browser for tests: Debian's Chromium without a window. The tests speak its DevTools protocol over a pipe, which
//! needs no other program and no port. Elements are found by role and name, as people with a screen reader find them, and
//! used with the mouse and the keyboard.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use plimsoll_tests::TempDir;
use serde_json::{Value, json};

/// Programs that can be the browser.
const PROGRAMS: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];
const PATIENCE: Duration = Duration::from_secs(90);

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    requests: ChildStdin,
    replies: Receiver<Value>,
    next: u64,
    session: Option<String>,
    events: VecDeque<Value>,
    _profile: TempDir,
}

/// An element of the page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element(u64);

impl Browser {
    /// Starts a browser. `None` if there is none.
    pub(crate) fn start() -> Option<Self> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let program = std::env::split_paths(&folders)
            .flat_map(|folder| PROGRAMS.map(|program| folder.join(program)))
            .find(|program| program.is_file());
        let Some(program) = program else {
            plimsoll_tests::skip("the console needs a browser: install chromium-headless-shell or chromium");
            return None;
        };
        let profile = TempDir::new().expect("a folder");
        // The pipe has the descriptors 3 and 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null"])
            .arg(program)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--hide-scrollbars",
            ])
            .args([
                "--host-resolver-rules=MAP rebound.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "--force-color-profile=srgb",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let (requests, output) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        let (sender, replies) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut message = Vec::new();
            while reader.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let value = serde_json::from_slice(&message).expect("JSON");
                message.clear();
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let (next, session, events) = (0, None, VecDeque::new());
        let mut browser = Self { process, requests, replies, next, session, events, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Network", "Log", "DOM", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.size(1400, 1000);
        Some(browser)
    }

    /// Calls a method of the DevTools protocol.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method });
        message["params"] = parameters;
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.requests.write_all(message.to_string().as_bytes()).expect("the browser runs");
        self.requests.write_all(&[0]).expect("the browser runs");
        loop {
            let mut reply = self.replies.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if reply["id"] == self.next {
                return if reply["error"].is_null() { Ok(reply["result"].take()) } else { Err(reply["error"].take()) };
            }
            self.events.push_back(reply);
        }
    }

    /// Shows the page of an address, and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.wait("the page is loaded", |browser| (browser.eval("document.readyState") == "complete").then_some(()));
    }

    /// Evaluates JavaScript, and waits for its promise.
    pub(crate) fn eval(&mut self, script: &str) -> Value {
        let parameters =
            json!({ "expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let mut reply = self.call("Runtime.evaluate", parameters);
        assert!(reply["exceptionDetails"].is_null(), "{script}: {reply}");
        reply["result"]["value"].take()
    }

    /// Sets the size of the window.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        self.zoom(width, height, 1);
    }

    /// Sets the size of the window in pixels of the screen, and how large the page is shown: 2 is 200 %.
    pub(crate) fn zoom(&mut self, width: u32, height: u32, zoom: u32) {
        let (width, height) = (width / zoom, height / zoom);
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": zoom, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Shows the page in light or dark colours.
    pub(crate) fn colours(&mut self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Waits until `found` is some value.
    pub(crate) fn wait<T>(&mut self, what: &str, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            if Instant::now() > end {
                panic!("still waiting: {what}\n{}\n{:?}", self.text(), self.errors());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The text of the page as it is shown.
    pub(crate) fn text(&mut self) -> String {
        self.eval("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page shows a text.
    pub(crate) fn wait_for_text(&mut self, text: &str) {
        self.wait(&format!("the page shows {text:?}"), |browser| browser.text().contains(text).then_some(()));
    }

    /// The elements with a role and a name. An empty name is any name.
    pub(crate) fn all(&mut self, role: &str, name: &str) -> Vec<Element> {
        let root = self.call("Runtime.evaluate", json!({ "expression": "document" }))["result"]["objectId"].clone();
        let mut parameters = json!({ "objectId": root, "role": role });
        if !name.is_empty() {
            parameters["accessibleName"] = name.into();
        }
        let Ok(found) = self.try_call("Accessibility.queryAXTree", parameters) else { return Vec::new() };
        let nodes = found["nodes"].as_array().cloned().unwrap_or_default();
        let shown = nodes.iter().filter(|node| node["ignored"] == false);
        shown.filter_map(|node| node["backendDOMNodeId"].as_u64()).map(Element).collect()
    }

    /// Waits for an element with a role and a name.
    pub(crate) fn find(&mut self, role: &str, name: &str) -> Element {
        self.wait(&format!("{role} {name:?}"), |browser| browser.all(role, name).first().copied())
    }

    /// Clicks an element with the mouse.
    pub(crate) fn click(&mut self, role: &str, name: &str) {
        // The element may be replaced while the page shows new figures.
        self.wait(&format!("a click on {role} {name:?}"), |browser| {
            let Element(node) = browser.all(role, name).first().copied()?;
            browser.try_call("DOM.scrollIntoViewIfNeeded", json!({ "backendNodeId": node })).ok()?;
            let quads = browser.try_call("DOM.getContentQuads", json!({ "backendNodeId": node })).ok()?;
            let corners: Vec<f64> = quads["quads"][0].as_array()?.iter().filter_map(Value::as_f64).collect();
            let (x, y) = ((corners[0] + corners[4]) / 2.0, (corners[1] + corners[5]) / 2.0);
            for kind in ["mousePressed", "mouseReleased"] {
                let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
                browser.call("Input.dispatchMouseEvent", event);
            }
            Some(())
        });
    }

    /// Types a text into the element that has the focus.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key, for example `Tab`.
    pub(crate) fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let text = if key == "Enter" && kind == "keyDown" { "\r" } else { "" };
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Selects files in the input of files that a script finds.
    pub(crate) fn choose_file(&mut self, script: &str, file: &Path) {
        let input = self.call("Runtime.evaluate", json!({ "expression": script }))["result"]["objectId"].clone();
        assert!(input.is_string(), "no {script}");
        self.call("DOM.setFileInputFiles", json!({ "objectId": input, "files": [file] }));
    }

    /// Selects a file in the dialog that the page has opened. `Page.setInterceptFileChooserDialog` must be enabled.
    pub(crate) fn choose_in_dialog(&mut self, file: &Path) {
        let input = self.wait("the page opens the dialog for a file", |browser| {
            browser.eval("0");
            let opened = browser.events.iter().rfind(|event| event["method"] == "Page.fileChooserOpened");
            opened.map(|event| event["params"]["backendNodeId"].clone())
        });
        self.call("DOM.setFileInputFiles", json!({ "backendNodeId": input, "files": [file] }));
    }

    /// Allows the page of an address to write to the clipboard.
    pub(crate) fn allow_clipboard(&mut self, origin: &str) {
        let session = self.session.take();
        let permissions = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": origin });
        self.call("Browser.grantPermissions", permissions);
        self.session = session;
    }

    /// Pastes what is in the clipboard, as Ctrl+V does.
    pub(crate) fn paste(&mut self) {
        let key = |kind: &str| json!({ "type": kind, "key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2, "commands": ["paste"] });
        self.call("Input.dispatchKeyEvent", key("keyDown"));
        self.call("Input.dispatchKeyEvent", key("keyUp"));
    }

    /// Drops a file on an element.
    pub(crate) fn drop_file(&mut self, role: &str, name: &str, file: &Path) {
        let Element(node) = self.find(role, name);
        let quads = self.call("DOM.getContentQuads", json!({ "backendNodeId": node }));
        let corner = |at: usize| quads["quads"][0][at].as_f64().expect("a number");
        let (x, y) = ((corner(0) + corner(4)) / 2.0, (corner(1) + corner(5)) / 2.0);
        let data = json!({ "items": [], "files": [file], "dragOperationsMask": 1 });
        for kind in ["dragEnter", "dragOver", "drop"] {
            self.call("Input.dispatchDragEvent", json!({ "type": kind, "x": x, "y": y, "data": data }));
        }
    }

    /// A picture of the whole page as PNG.
    pub(crate) fn screenshot(&mut self) -> Vec<u8> {
        use base64::Engine;
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": false }));
        base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().expect("text")).expect("base64")
    }

    /// The addresses of all requests so far.
    pub(crate) fn requested(&mut self) -> Vec<String> {
        self.eval("0");
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| event["params"]["request"]["url"].as_str().expect("text").to_owned()).collect()
    }

    /// Exceptions of the page, and what the browser refused. Replies with an error status are not among them.
    pub(crate) fn errors(&mut self) -> Vec<Value> {
        self.eval("0");
        let is_error = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => {
                let entry = &event["params"]["entry"];
                entry["level"] == "error" && entry["source"] != "network"
            }
            _ => false,
        };
        self.events.iter().filter(is_error).cloned().collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
