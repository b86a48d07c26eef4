/* An SVG picture. Parsed as an image, not as HTML: no script in it would run. */
const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
const draw = () => {
  const svg = new DOMParser().parseFromString(props.value || "<svg xmlns='http://www.w3.org/2000/svg' width='0' height='0'/>", "image/svg+xml");
  root.replaceChildren(document.importNode(svg.documentElement, true));
};
draw();
watch("value", draw);
