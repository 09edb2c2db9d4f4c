/** Pauses between tries that grow, each jittered by a quarter, to spread those who came together. */
export class BackOff {
  readonly #firstMs: number;
  readonly #mostMs: number;
  readonly #growth: number;
  #pauseMs = 0;

  /**
   * @param firstMs the first pause, in milliseconds.
   * @param mostMs the longest pause, in milliseconds, before the jitter.
   * @param growth the factor from each pause to the next. Default 2.
   */
  constructor(firstMs: number, mostMs: number, growth = 2) {
    this.#firstMs = firstMs;
    this.#mostMs = mostMs;
    this.#growth = growth;
  }

  /** The next pause, in milliseconds. */
  nextMs(): number {
    this.#pauseMs = Math.min(this.#pauseMs * this.#growth || this.#firstMs, this.#mostMs);
    return this.#pauseMs * (0.75 + Math.random() / 2);
  }

  /** The next pause is the first one again. */
  reset(): void {
    this.#pauseMs = 0;
  }
}
