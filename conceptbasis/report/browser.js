"use strict";
const list = document.getElementById("atom-list");
if (list) {
  const [search, layer, sort, count] = ["search", "layer", "sort", "count"].map((name) =>
    document.getElementById(`atom-${name}`),
  );
  const atoms = [...list.children].map((item) => ({ item, words: item.textContent.toLowerCase() }));
  const sorted = () => {
    const key = `data-sort-${sort.value}`;
    const value = (atom) => Number(atom.item.getAttribute(key));
    list.append(...[...atoms].sort((a, b) => value(b) - value(a)).map((atom) => atom.item));
  };
  const filter = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { item, words } of atoms) {
      const here = !layer.value || item.dataset.layer === layer.value;
      item.hidden = !(here && wanted.every((word) => words.includes(word)));
      shown += item.hidden ? 0 : 1;
    }
    count.value = `${shown} of ${atoms.length} atoms`;
  };
  search.addEventListener("input", filter);
  layer.addEventListener("change", filter);
  sort.addEventListener("change", sorted);
  search.form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}
