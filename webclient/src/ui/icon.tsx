// The few drawings of the page: strokes of 16 by 16. They say nothing by themselves; the control beside them has a name.

const paths = {
  plus: "M8 3v10M3 8h10",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.6 10.6 14 14",
  close: "m4 4 8 8M12 4l-8 8",
  check: "m3 8.5 3.2 3.2L13 5",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  right: "m6 3.5 4.5 4.5L6 12.5",
  left: "M10 3.5 5.5 8l4.5 4.5",
  down: "m3.5 6 4.5 4.5L12.5 6",
  up: "m3.5 10 4.5-4.5L12.5 10",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  panel_left: "M2 3h12v10H2zM6 3v10",
  panel_right: "M2 3h12v10H2zM10 3v10",
  settings: "M2 5h7M13 5h1M2 11h1M7 11h7M11 3.2v3.6M5 9.2v3.6",
  retry: "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3",
  edit: "m3 13 .6-2.8 7-7a1.3 1.3 0 0 1 2.2 2.2l-7 7L3 13Z",
  trash: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5",
  box: "M2.5 3h11v3h-11zM3.5 6v7h9V6M6.5 8.5h3",
  out: "M8 10V2.5M5 5l3-3 3 3M3 9v4h10V9",
  into: "M8 2.5V10M5 7.5l3 3 3-3M3 10v3h10v-3",
  eye: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8ZM8 9.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6Z",
  eye_off:
    "M2 2l12 12M6.5 3.7C7 3.6 7.5 3.5 8 3.5c4 0 6.5 4.5 6.5 4.5s-.7 1.3-2 2.5M10 12c-.6.3-1.3.5-2 .5-4 0-6.5-4.5-6.5-4.5s.9-1.700 2.700-3",
  send: "M8 13V3M4 7l4-4 4 4",
  stop: "M4.5 4.5h7v7h-7z",
  flush: "M3 3v10M6 8h8M11 5l3 3-3 3",
  tool: "M13 3.500 10.500 6 9.500 5l2.400-2.500a3.200 3.200 0 0 0-4.200 4.200L3 11.400 4.600 13l4.700-4.700A3.200 3.200 0 0 0 13 3.500Z",
  memory:
    "M4 4.500h8v7H4zM6.500 2v2.500M9.500 2v2.500M6.500 11.500V14M9.500 11.500V14M2 6.500h2M2 9.500h2M12 6.500h2M12 9.500h2",
  warn: "M8 2.500 14 13H2L8 2.500ZM8 6.500v3M8 11.200v.01",
  plan: "M3 4.500l1 1 1.700-2M3 10.500l1 1 1.700-2M8.500 4.700H13M8.500 10.700H13",
  terminal: "M2 3h12v10H2zM4.500 6l2 2-2 2M8 10h3",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
  think:
    "M5.500 11.500h5M6.500 13.500h3M5.800 9.800A4 4 0 1 1 10.200 9.800c-.5.4-.7 1-.7 1.700h-3c0-.7-.2-1.300-.7-1.700Z",
  play: "M5 3.500v9l7-4.500z",
  key: "M9.800 9.200a3.200 3.200 0 1 0-3-2.200L2.500 11.300V13.500h2.200v-1.500h1.500v-1.500l1.600-1.600c.6.2 1.300.3 2 .3ZM10.700 5.300v.01",
  pause: "M5.500 3.500v9M10.500 3.500v9",
} as const;

export type IconName = keyof typeof paths;

export const Icon = ({ name }: { name: IconName }) => (
  <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <path d={paths[name]} />
  </svg>
);
