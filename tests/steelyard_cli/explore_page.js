// Runs the script of an exploration's page on a few elements of its own, and acts as a user.
// act(PAGE) -> JSON of what was shown and copied.
"use strict";

function act(page) {
  const scripts = [...page.matchAll(/<script[^>]*>([\s\S]*?)<\/script>/g)].map((each) => each[1]);

  class Element {
    constructor(text = "") {
      this.textContent = text;
      this.dataset = {};
      this.handlers = {};
    }
    addEventListener(kind, handler) { this.handlers[kind] = handler; }
  }

  const words = new Element("at first");
  const buttons = [...page.matchAll(/data-number="(\d+)"/g)].map((each) => {
    const button = new Element();
    button.dataset.number = each[1];
    return button;
  });
  const plots = [...page.matchAll(/data-plot="(\d+)"/g)].map((each) => {
    const plot = new Element();
    plot.dataset.plot = each[1];
    plot.viewBox = { baseVal: { width: 960 } };
    // Shown at half its size, away from the corner.
    plot.getBoundingClientRect = () => ({ left: 100, top: 50, width: 480 });
    return plot;
  });
  const copied = [];
  const document = {
    getElementById: (name) => ({ data: new Element(scripts[0]), words })[name],
    querySelectorAll: (what) => (what.startsWith("svg") ? plots : buttons),
  };
  const navigator = {
    clipboard: { writeText: (text) => { copied.push(text); return Promise.resolve(); } },
  };
  new Function("document", "navigator", scripts[1])(document, navigator);

  const data = JSON.parse(scripts[0]);
  const clicked = buttons.map((each) => { each.handlers.click(); return words.textContent; });
  const pointed = buttons.map((each) => { each.handlers.mouseenter(); return words.textContent; });
  const hovered = data.places[0].map(([x, y]) => {
    words.textContent = "";
    plots[0].handlers.mousemove({ clientX: 100 + x / 2, clientY: 50 + y / 2, target: new Element() });
    return words.textContent;
  });
  words.textContent = "nothing";
  plots[0].handlers.mousemove({ clientX: 101, clientY: 51, target: new Element() });
  const away = words.textContent;
  return JSON.stringify({ copied, clicked, pointed, hovered, away });
}
