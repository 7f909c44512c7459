// A page opened from a folder (file://) may not start a worker, and the search is one.
// So the search's script runs in a hidden frame instead, with the few words of a worker that it uses.
if (location.protocol === "file:") window.Worker = class extends EventTarget {
  constructor(url) {
    super()
    const frame = this.frame = document.createElement("iframe")
    frame.hidden = true
    document.body.append(frame)
    const inner = frame.contentWindow, page = frame.contentDocument
    const load = src => new Promise((done, failed) => {
      page.body.append(Object.assign(page.createElement("script"), {src, onload: done, onerror: failed}))
    })
    inner.importScripts = (...urls) => urls.reduce((before, each) => before.then(() => load(each)), Promise.resolve())
    inner.postMessage = data => {
      this.dispatchEvent(new MessageEvent("message", {data}))
      if (this.onmessage) this.onmessage({data})
    }
    this.ready = load(url)
  }
  postMessage(data) {
    this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", {data})))
  }
  terminate() { this.frame.remove() }
}
