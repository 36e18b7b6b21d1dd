// Says how long ago an instant was, or with data-since how long something has lasted. Without this script the page shows the time of day in UTC.
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** @param {number} seconds */
function ago(seconds) {
  if (seconds < 1) return "just now";
  for (const [name, length] of UNITS) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${name} ago`;
  }
  return "just now";
}

/** The two largest units, like the server writes them. @param {number} seconds */
function length(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const index = UNITS.findIndex(([, size]) => whole >= size);
  if (index < 0) return "0 s";
  const [name, size] = UNITS[index];
  const next = UNITS[index + 1];
  const rest = next ? Math.floor((whole % size) / next[1]) : 0;
  return `${Math.floor(whole / size)} ${name}` + (rest ? ` ${rest} ${next[0]}` : "");
}

function refreshTimes() {
  for (const element of document.querySelectorAll("time[datetime]:not([data-exact])")) {
    const at = Date.parse(element.getAttribute("datetime"));
    if (Number.isNaN(at)) continue;
    const seconds = (Date.now() - at) / 1000;
    const text = "since" in element.dataset ? length(seconds) : ago(seconds);
    if (element.textContent !== text) element.textContent = text;
  }
}

refreshTimes();
setInterval(() => { if (!document.hidden) refreshTimes(); }, 1000);
document.addEventListener("andoncord:fresh", refreshTimes);
