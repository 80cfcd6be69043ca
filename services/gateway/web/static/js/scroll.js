// Where the reader is in a conversation: at its end, following what is written, or reading further up, left alone.

const NEAR = 48;
const EARLY = 600;

export class Scroller {
  /** @param onTop is called when the reader comes near the top. */
  constructor(onTop, onFollow) {
    this.onTop = onTop;
    this.onFollow = onFollow;
    this.element = null;
    this.following = true;
    this.lastTop = 0;
  }

  attach(element) {
    if (this.element === element || !element) return;
    this.element = element;
    element.addEventListener("scroll", () => this.onScroll(), { passive: true });
    // Not only new messages: a block that gets its colours, a window that gets narrower.
    this.sizes = new ResizeObserver(() => this.settle());
    this.sizes.observe(element);
    this.sizes.observe(element.firstElementChild);
  }

  get atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }

  onScroll() {
    const { scrollTop } = this.element;
    const up = scrollTop < this.lastTop - 1;
    this.lastTop = scrollTop;
    const following = this.atEnd || (this.following && !up);
    if (following !== this.following) {
      this.following = following;
      this.onFollow(following);
    }
    if (scrollTop < EARLY) this.onTop();
  }

  /** Goes to the end where the reader follows. */
  settle() {
    if (!this.element) return;
    // What was focused may have brought itself into sight a moment ago; the browser tells of that later.
    if (this.element.scrollTop < this.lastTop - 1) this.onScroll();
    if (!this.following) return;
    this.element.scrollTop = this.element.scrollHeight;
    this.lastTop = this.element.scrollTop;
  }

  /** Goes to the end and follows from there. */
  toEnd() {
    this.following = true;
    this.onFollow(true);
    this.settle();
  }

  /** Does what puts something above what is read, and keeps that where it is. */
  async keepingPlace(work, drawn) {
    const mark = this.element.querySelector("[data-message]");
    const before = mark?.getBoundingClientRect().top;
    await work();
    await drawn();
    if (mark?.isConnected && !this.following) {
      this.element.scrollTop += mark.getBoundingClientRect().top - before;
      this.lastTop = this.element.scrollTop;
    }
  }

  /** Goes to an element, and stays there. */
  show(target) {
    this.following = false;
    this.onFollow(false);
    target.scrollIntoView({ block: "center" });
    this.lastTop = this.element.scrollTop;
  }
}
