// Texts of the page, in its language: they stand in data- attributes, with places like {n} for values.

export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
