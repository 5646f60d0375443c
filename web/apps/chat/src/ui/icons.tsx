/** The icons, drawn with lines of one width. All are decoration: the button around them has the name. */

import type { ReactNode } from "react";

function icon(path: ReactNode) {
  return function Icon({ size = 18 }: { readonly size?: number }) {
    return (
      <svg
        width={size}
        height={size}
        viewBox="0 0 24 24"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.8"
        strokeLinecap="round"
        strokeLinejoin="round"
        aria-hidden="true"
      >
        {path}
      </svg>
    );
  };
}

export const Bubble = icon(
  <path d="M5 5.500h14a1.500 1.500 0 0 1 1.500 1.500v8a1.500 1.500 0 0 1-1.500 1.500h-8L6.500 20v-3.500H5A1.500 1.500 0 0 1 3.500 15V7A1.500 1.500 0 0 1 5 5.500z" />,
);
export const Braces = icon(<path d="M8.500 4.500H5v15h3.500M15.500 4.500H19v15h-3.500M9.500 10h5M9.500 14h3" />);
export const Flow = icon(
  <>
    <rect x="3.500" y="4.500" width="7" height="5" rx="1.500" />
    <rect x="13.500" y="14.500" width="7" height="5" rx="1.500" />
    <path d="M10.500 7H14a2.500 2.500 0 0 1 2.500 2.500v5M7 9.500V17h6.500" />
  </>,
);
export const Nodes = icon(
  <>
    <circle cx="6.500" cy="7" r="2.700" />
    <circle cx="17.500" cy="9.500" r="2.700" />
    <circle cx="10" cy="17.500" r="2.700" />
    <path d="M9.200 7.600l5.600 1.300M7.300 9.600l1.900 5.300M15.800 11.600l-4 4" />
  </>,
);
export const Sheet = icon(<path d="M6.500 3.500h7l4 4v13h-11zM13.500 3.500v4h4" />);
export const Folder = icon(<path d="M3.500 6.500h6l2 2h9v10h-17z" />);
export const Clock = icon(
  <>
    <circle cx="12" cy="12" r="8" />
    <path d="M12 7.500V12l3 2" />
  </>,
);
export const Play = icon(<path d="M8 5.500v13l10.500-6.500z" fill="currentColor" />);
export const Plus = icon(<path d="M12 5v14M5 12h14" />);
export const Menu = icon(<path d="M4 7h16M4 12h16M4 17h10" />);
export const Send = icon(<path d="M12 19V5M6 11l6-6 6 6" />);
export const Stop = icon(<rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" stroke="none" />);
export const Copy = icon(
  <>
    <rect x="9" y="9" width="11" height="11" rx="2.500" />
    <path d="M5 15V6.500A2.500 2.500 0 0 1 7.500 4H15" />
  </>,
);
export const Check = icon(<path d="M5 12.500l4.500 4.500L19 7.500" />);
export const Retry = icon(
  <>
    <path d="M20 11a8 8 0 1 0-2.300 6.200" />
    <path d="M20 5v6h-6" />
  </>,
);
export const Share = icon(
  <>
    <path d="M5 12a7 7 0 0 1 7 7M5 6a13 13 0 0 1 13 13" />
    <circle cx="6" cy="18" r="1.300" fill="currentColor" />
  </>,
);
export const Gear = icon(
  <>
    <path d="M4 8h9M17 8h3M4 16h3M11 16h9" />
    <circle cx="15" cy="8" r="2" />
    <circle cx="9" cy="16" r="2" />
  </>,
);
export const Sun = icon(
  <>
    <circle cx="12" cy="12" r="4" />
    <path d="M12 3v2M12 19v2M3 12h2M19 12h2M5.600 5.600l1.400 1.400M17 17l1.400 1.400M5.600 18.400L7 17M17 7l1.400-1.400" />
  </>,
);
export const Moon = icon(<path d="M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10z" />);
export const Trash = icon(<path d="M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12" />);
export const Pencil = icon(<path d="M5 19l1-4L16 5l3 3L9 18zM14 7l3 3" />);
export const Chevron = icon(<path d="M8 10l4 4 4-4" />);
export const Down = icon(<path d="M12 5v14M6 13l6 6 6-6" />);
export const Close = icon(<path d="M6 6l12 12M18 6L6 18" />);
export const Tool = icon(<path d="M14.500 6.500a4 4 0 0 0-5 5L4 17l3 3 5.500-5.500a4 4 0 0 0 5-5L15 12l-3-3z" />);
export const Warning = icon(<path d="M12 4l9 16H3zM12 10v4M12 17v.2" />);
export const Thought = icon(
  <>
    <path d="M12 3.500l1.700 4.800 4.800 1.700-4.800 1.700L12 16.500l-1.700-4.800L5.500 10l4.800-1.700z" />
    <path d="M18.500 16v4M16.500 18h4" />
  </>,
);

export function Mark({ size = 26 }: { readonly size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" className="mark">
      <rect width="32" height="32" rx="9" fill="var(--accent-solid)" />
      <path
        d="M7 11c3-2.600 6-2.600 9 0s6 2.600 9 0M7 16.500c3-2.600 6-2.600 9 0s6 2.600 9 0M7 22c3-2.600 6-2.600 9 0"
        fill="none"
        stroke="#fff"
        strokeWidth="2.400"
        strokeLinecap="round"
      />
    </svg>
  );
}
