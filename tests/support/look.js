// What is wrong with how a page looks: text that leaves the page, is hard to read, or is covered.
() => {
  const problems = [];
  const width = document.documentElement.clientWidth;
  const told = (node) => `${node.parentElement.tagName} "${node.data.trim().slice(0, 40)}"`;

  if (document.documentElement.scrollWidth > width)
    problems.push(`the page is ${document.documentElement.scrollWidth} wide`);

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.canvas.width = canvas.canvas.height = 1;
  const known = new Map();
  // Red, green, blue, alpha of any colour that CSS can say.
  const parse = (text) => {
    if (!known.has(text)) {
      const numbers = text.match(/^rgba?\(([^)]*)\)$/)?.[1].split(/[ ,/]+/).map(Number);
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(text, numbers ? [...numbers, 1].slice(0, 4) : [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const over = ([r, g, b, a], below) =>
    [r, g, b].map((value, i) => value * a + below[i] * (1 - a)).concat(1);
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((value) => {
      const x = value / 255;
      return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const backgrounds = new Map();
  const background = (element) => {
    if (!element) return [255, 255, 255, 1];
    if (!backgrounds.has(element)) {
      const own = parse(getComputedStyle(element).backgroundColor);
      const all = own[3] === 1 ? own : over(own, background(element.parentElement));
      backgrounds.set(element, all);
    }
    return backgrounds.get(element);
  };
  const opacities = new Map([[null, 1]]);
  const opacity = (element) => {
    if (!opacities.has(element)) {
      const own = Number(getComputedStyle(element).opacity);
      opacities.set(element, own * opacity(element.parentElement));
    }
    return opacities.get(element);
  };
  const contrast = (element, style) => {
    const behind = background(element);
    const [r, g, b, a] = parse(style.color);
    const front = over([r, g, b, a * opacity(element)], behind);
    const [low, high] = [luminance(front), luminance(behind)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };

  // Boxes of the ancestors that scroll or cut off.
  const clips = new Map([[document.body, []]]);
  const clipping = (element) => {
    if (!clips.has(element)) {
      const { display, overflowX } = getComputedStyle(element);
      const cuts = display !== "inline" && overflowX !== "visible";
      const own = cuts ? [element.getBoundingClientRect()] : [];
      clips.set(element, [...own, ...clipping(element.parentElement)]);
    }
    return clips.get(element);
  };
  // The part of a box that they show.
  const shown = (box, element) => {
    let { left, right, top, bottom } = box;
    for (const clip of clipping(element)) {
      [left, right] = [Math.max(left, clip.left), Math.min(right, clip.right)];
      [top, bottom] = [Math.max(top, clip.top), Math.min(bottom, clip.bottom)];
    }
    return { left, right, top, bottom };
  };

  const seen = { texts: 0, points: 0 };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const visible = { opacityProperty: true, visibilityProperty: true };
    if (!node.data.trim() || !element.checkVisibility(visible)) continue;
    if (element.getBoundingClientRect().top > innerHeight) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()]
      .map((box) => shown(box, element))
      .filter(({ left, right, top, bottom }) => right - left > 2 && bottom - top > 2)
      .filter(({ left, right }) => right > 0 && left < width)
      .filter(({ top, bottom }) => top >= 0 && bottom < innerHeight);
    if (!boxes.length) continue;
    seen.texts += 1;

    const ratio = contrast(element, getComputedStyle(element));
    if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)} of ${told(node)}`);
    for (const box of [boxes[0], boxes.at(-1)]) {
      if (box.right > width + 1) problems.push(`${told(node)} leaves the page`);
      const y = (box.top + box.bottom) / 2;
      for (const part of [0.2, 0.5, 0.8]) {
        const top = document.elementFromPoint(box.left + part * (box.right - box.left), y);
        if (top === null) continue; // beside the window
        seen.points += 1;
        if (!top.contains(element) && !element.contains(top))
          problems.push(`${told(node)} is below ${top.tagName}.${top.className}`);
      }
    }
  }
  for (const input of document.querySelectorAll("input[placeholder]")) {
    if (!opacity(input)) continue;
    const ratio = contrast(input, getComputedStyle(input, "::placeholder"));
    if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)} of the text in ${input.className}`);
  }
  const hosts = performance.getEntriesByType("resource").map(({ name }) => new URL(name).host);
  return { ...seen, problems: [...new Set(problems)], hosts: [...new Set(hosts)] };
}
