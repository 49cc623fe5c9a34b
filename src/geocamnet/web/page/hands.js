// Keys, files that are dropped, files that are saved, and what the browser keeps of the settings.

const $ = (id) => document.getElementById(id);

/** Call `open` with files that are dropped or pasted. */
export function onFiles(open) {
  let depth = 0; // of elements that are dragged over
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault(); // or the browser opens the file in place of the page
      depth = kind === "drop" ? 0 : depth + { dragenter: 1, dragleave: -1, dragover: 0 }[kind];
      $("drop").hidden = depth <= 0;
      if (kind === "drop") open([...event.dataTransfer.files]);
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length > 0) open([...event.clipboardData.files]);
  });
}

/** Do what a key says, unless something is typed or a button has the focus; the keys are those of the live window. */
export function onKeys(keys, isReady) {
  document.addEventListener("keydown", (event) => {
    const isTaken = event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, button, dialog");
    if (isTaken || !isReady() || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
}

export const stamp = () => new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");

export function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export function switchTheme() {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const shown = document.documentElement.dataset.theme ?? (isDark ? "dark" : "light");
  document.documentElement.dataset.theme = shown === "dark" ? "light" : "dark";
}

const KEPT = "geocamnet";

export function keep(settings) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(settings));
  } catch {
    // a browser that keeps nothing shows the page as it comes
  }
}

export function readKept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    return {};
  }
}
