// The pictures of the views carry no text of their own: their frames are named, and they are decoration within.
new MutationObserver(() => {
  for (const picture of document.querySelectorAll("img.image-display-area:not([alt])")) {
    picture.alt = "";
  }
}).observe(document.documentElement, { childList: true, subtree: true });
