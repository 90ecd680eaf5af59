//! The mark of the product.

export function Logo() {
  return (
    <svg viewBox="0 0 20 20" aria-hidden="true">
      <rect x="1.5" y="1.5" width="17" height="17" rx="4.5" fill="none" stroke="var(--text)" strokeWidth="2" />
      <path d="M7 6v8" stroke="var(--accent)" strokeWidth="2.5" strokeLinecap="round" />
      <path
        d="M11 7h3M11 10h2"
        stroke="var(--text)"
        strokeWidth="1.75"
        strokeLinecap="round"
        opacity=".55"
        fill="none"
      />
    </svg>
  );
}
