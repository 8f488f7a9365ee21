// Mends what gradio's own components don't tell a screen reader: a thumbnail is called by the words
// beneath it, a button that only holds another one isn't a button, what is empty is said to be so,
// and the button around a picture has a name.
() => {
    const mend = () => {
        for (const one of document.querySelectorAll(".thumbnail-lg")) {
            const words = one.querySelector(".caption-label")?.textContent.trim();
            if (words && one.getAttribute("aria-label") !== words) one.setAttribute("aria-label", words);
        }
        for (const one of document.querySelectorAll(".icon-button:has(button)")) {
            if (one.getAttribute("role") !== "group") one.setAttribute("role", "group");
            one.tabIndex = -1;
        }
        for (const one of document.querySelectorAll("div.empty[aria-label]:not([role])"))
            one.setAttribute("role", "img");
        for (const one of document.querySelectorAll("button:has(> .image-frame):not([aria-label])"))
            one.setAttribute("aria-label", "Picture");
    };
    new MutationObserver(mend).observe(
        document.body, {subtree: true, childList: true, attributeFilter: ["aria-label"]});
    mend();
}
