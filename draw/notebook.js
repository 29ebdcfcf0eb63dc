(function (script, html, height) {
  // Puts the page in a frame in the place of the picture, in the theme of the notebook.
  const waiting = () => [...document.querySelectorAll(".onnxla-drawing")].find((each) => !each.querySelector("iframe"));
  const place = (script && script.closest(".onnxla-drawing")) || waiting();
  if (!place) return;
  const body = document.body;
  function theme() {
    if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false" ? "dark" : "light";
    if (body.dataset.vscodeThemeKind) return /dark/.test(body.dataset.vscodeThemeKind) ? "dark" : "light";
    return document.documentElement.getAttribute("theme") || "";
  }
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts allow-downloads");
  frame.setAttribute("allow", "clipboard-write *");
  frame.title = "graph";
  frame.style.cssText = "width:100%;border:0;border-radius:8px;color-scheme:normal;height:" + height + "px";
  const tell = () => frame.contentWindow && frame.contentWindow.postMessage({ onnxlaTheme: theme() }, "*");
  frame.addEventListener("load", tell);
  frame.srcdoc = html;
  place.replaceChildren(frame);
  new MutationObserver(tell).observe(body, { attributes: true });
})
