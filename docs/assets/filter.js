// A box that filters the rows of the tables on a page which has an element `table-filter`.
function addFilter(place) {
  const input = Object.assign(document.createElement("input"), {
    type: "search",
    placeholder: place.dataset.placeholder,
    ariaLabel: place.dataset.placeholder,
  });
  const count = document.createElement("span");
  count.setAttribute("role", "status");
  place.append(input, count);
  const tables = [...place.parentElement.querySelectorAll("table")].map((table) => {
    const rows = [...table.tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase()]);
    return { table, rows };
  });
  const all = tables.reduce((sum, { rows }) => sum + rows.length, 0);

  // The heading above a table, and the box that the theme puts around it.
  function around(table) {
    const box = table.closest(".md-typeset__scrollwrap") ?? table;
    let heading = box.previousElementSibling;
    while (heading && !/^H\d$/.test(heading.tagName)) heading = heading.previousElementSibling;
    return [box, heading];
  }

  function show() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let total = 0;
    for (const { table, rows } of tables) {
      const [box, heading] = around(table);
      const section = heading?.textContent.toLowerCase() ?? "";
      let found = 0;
      for (const [row, text] of rows) {
        row.hidden = !words.every((word) => text.includes(word) || section.includes(word));
        found += !row.hidden;
      }
      box.hidden = heading.hidden = !found;
      total += found;
    }
    count.textContent = words.length ? `${total} of ${all}` : "";
  }

  input.addEventListener("input", show);
  input.value = new URLSearchParams(location.search).get("filter") ?? "";
  show();
}

document.querySelectorAll(".table-filter").forEach(addFilter);
