// Keeps the page fresh: the server says that something changed, the page is fetched again, and each part that differs is exchanged,
// unless somebody is using that part right now. One stream, closed while the tab is hidden; without it the page polls.
const POLL_MS = 10000;
const QUIET_MS = 250;
const state = document.getElementById("link-state");
const fresh = document.getElementById("fresh");
const announce = document.getElementById("announce");

let source = null;
let timer = 0;
let fetching = false;
let again = false;

/** @param {string} text @param {string} tone @param {string} more */
function say(text, tone, more = "") {
  state.hidden = false;
  state.title = more;
  state.className = `link-state ${tone}`;
  if (state.textContent !== text) state.textContent = text;
}

/** What a part shows, without what every rendering makes anew. @param {Element} part */
function essence(part) {
  const copy = part.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) time.textContent = "";
  for (const key of copy.querySelectorAll("input[name=key]")) key.remove();
  for (const kept of copy.querySelectorAll("details")) kept.removeAttribute("open");
  return copy.innerHTML + copy.className;
}

/** Whether somebody is reading or filling in this part. @param {Element} part */
function inUse(part) {
  if (part.contains(document.activeElement) && document.activeElement !== document.body) return true;
  if (part.matches(":hover") && part.querySelector("a, button, input, select, textarea")) return true;
  for (const field of part.querySelectorAll("input:not([type=hidden]), textarea")) {
    if (field.value !== field.defaultValue) return true;
  }
  return String(getSelection()) !== "" && part.contains(getSelection().anchorNode);
}

/** The verdicts and receipts of a page, as they are read out. @param {Document} page */
function said(page) {
  return [...page.querySelectorAll("[data-announce]")].map((result) => {
    const copy = result.cloneNode(true);
    for (const time of copy.querySelectorAll("time, details")) time.remove();
    return copy.textContent.replace(/\s+/g, " ").trim();
  });
}
let known = said(document);

/** @param {Element} old @param {Element} part */
function exchange(old, part) {
  const wasOpen = new Map([...old.querySelectorAll("details[data-keep]")].map((kept) => [kept.dataset.keep, kept.open]));
  const scrolled = [...old.querySelectorAll("ol, pre")].map((box) => box.scrollTop);
  for (const kept of part.querySelectorAll("details[data-keep]")) {
    if (wasOpen.has(kept.dataset.keep)) kept.open = wasOpen.get(kept.dataset.keep);
  }
  old.replaceWith(part);
  part.querySelectorAll("ol, pre").forEach((box, index) => { box.scrollTop = scrolled[index] ?? 0; });
}

/** @param {Document} next @param {boolean} force */
function apply(next, force) {
  let held = false;
  for (const part of next.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    if (!old || essence(old) === essence(part)) continue;
    if (!force && inUse(old)) { held = true; continue; }
    exchange(old, document.importNode(part, true));
  }
  fresh.hidden = !held;
  document.title = next.title;
  const results = said(next);
  const news = results.filter((text) => !known.includes(text));
  if (news.length) announce.textContent = news.join(". ");
  known = results;
  document.dispatchEvent(new Event("andoncord:fresh"));
}

async function refresh(force = false) {
  if (fetching) { again = true; return; }
  fetching = true;
  try {
    const address = new URL(location.href);
    address.hash = "";
    address.searchParams.delete("done");
    address.searchParams.delete("looks");
    const answer = await fetch(address, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (answer.redirected && new URL(answer.url).pathname === "/login") { location.assign(answer.url); return; }
    if (!answer.ok) throw new Error(String(answer.status));
    apply(new DOMParser().parseFromString(await answer.text(), "text/html"), force);
    if (source?.readyState === EventSource.OPEN) say("live", "ok");
  } catch {
    say("no connection", "bad", "The page shows what was known when the connection was lost.");
  } finally {
    fetching = false;
    if (again) { again = false; soon(); }
  }
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, QUIET_MS);
}

function connect() {
  if (source || document.hidden) return;
  source = new EventSource(state.dataset.stream);
  source.addEventListener("open", () => { say("live", "ok"); soon(); });
  source.addEventListener("incident", soon);
  source.addEventListener("error", () => {
    say("not live", "bad", "The page asks the server every 10 seconds instead.");
    if (source?.readyState === EventSource.CLOSED) source = null;
  });
}

function disconnect() {
  source?.close();
  source = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect(); else { connect(); soon(); }
});
addEventListener("pagehide", disconnect);
fresh.querySelector("button").addEventListener("click", () => refresh(true));
// Silence of an agent is an event that nobody sends, so the page also asks by itself.
setInterval(() => { if (!document.hidden) { connect(); refresh(); } }, POLL_MS);
connect();
