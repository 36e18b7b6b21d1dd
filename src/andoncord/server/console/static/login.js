// Puts the one-time code of the printed link into the form, and takes it out of the address and the history.
const field = document.getElementById("code");
const code = new URLSearchParams(location.hash.slice(1)).get("code");
if (field && code) {
  field.value = code;
  history.replaceState(null, "", location.pathname + location.search);
  field.form.querySelector("button").focus();
}
