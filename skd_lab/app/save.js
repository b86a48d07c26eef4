/* Saves a file. props.value: JSON { name, text, count }; a new count is a new wish. */
element.attachShadow?.({ mode: "open" });
let last = "";

function save() {
  if (!props.value || props.value === last) return;
  last = props.value;
  const { name, text } = JSON.parse(props.value), link = document.createElement("a");
  const types = { html: "text/html", csv: "text/csv", ndjson: "application/x-ndjson" };
  link.href = URL.createObjectURL(new Blob([text], { type: `${types[name.split(".").pop()] ?? "text/plain"};charset=utf-8` }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
watch("value", save);
