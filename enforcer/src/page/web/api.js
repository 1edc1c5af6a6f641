// The page's questions: to its server, or to the data in a report.

const KEY = "enforcer-token";

/** Why there is no answer. */
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// The token comes in the fragment, which no server sees, and leaves the address bar at once.
function token() {
  const found = /^#token=([0-9a-f]+)$/.exec(location.hash);
  try {
    if (found) sessionStorage.setItem(KEY, found[1]);
    if (found) history.replaceState(null, "", location.pathname);
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return found ? found[1] : "";
  }
}

/** Asks the server. */
class Server {
  constructor() {
    this.token = token();
    this.live = true;
    this.tag = null;
  }

  async send(path, body, headers) {
    let response;
    try {
      response = await fetch(path, {
        method: body === undefined ? "GET" : "POST",
        body: body === undefined ? undefined : JSON.stringify(body),
        headers: { Authorization: `Bearer ${this.token}`, ...headers },
        credentials: "omit",
        cache: "no-store",
      });
    } catch {
      throw new Failure("The server does not answer. Does it still run?", 0);
    }
    if (response.status === 304) return null;
    const text = await response.text();
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      throw new Failure(text || `The server answered ${response.status}.`, response.status);
    }
    if (!response.ok) throw new Failure(answer.error ?? text, response.status);
    if (path.startsWith("api/model")) this.tag = response.headers.get("etag");
    return answer;
  }

  /** The model; null: it has not changed. */
  model(fresh) {
    const known = this.tag ? { "If-None-Match": this.tag } : {};
    return this.send(fresh ? "api/model?fresh" : "api/model", undefined, known);
  }

  explain(question) { return this.send("api/explain", question); }
  describe(name) { return this.send("api/describe", { name }); }
  diff(change) { return this.send("api/diff", change); }
  policy(name) { return this.send("api/policy", { name }); }
  activity() { return this.send("api/activity"); }
}

/** Answers from the data of a report. */
class Stored {
  constructor(data) {
    this.data = data;
    this.live = false;
  }

  async model() { return this.data.model; }
  async activity() { return this.data.activity; }

  async explain({ from, to }) {
    const answer = this.data.explanations[from]?.[to];
    if (answer) return answer;
    throw new Failure("This report has no answer to this question. It has those of workloads, at their " +
      `declared ports. Ask:\n\nenforcer explain ${from} ${to}`, 404);
  }

  async describe(name) {
    const found = this.data.descriptions[name];
    if (found) return found;
    throw new Failure(`This report does not describe ${name}. Ask:\n\nenforcer describe ${name}`, 404);
  }

  diff() { throw new Failure("A report can't compare: it is one moment of a cluster.", 404); }
  policy() { throw new Failure("A report has no manifests.", 404); }
}

/** The source of answers. */
export function connect() {
  const data = document.getElementById("report");
  return data ? new Stored(JSON.parse(data.textContent)) : new Server();
}
