// Shows pictures one after another in time. Called with every batch, and again whenever the page is drawn anew.
const PATIENCE = 150 // ms that the first picture of a batch waits, so that the next batch comes in time

export default function ({ data, parentElement }) {
    const image = parentElement.querySelector('img')
    const film = (parentElement.film ??= { episode: null, queue: [], last: -1, timer: null })
    if (film.episode !== data.episode) {
        Object.assign(film, { episode: data.episode, queue: [], last: -1 })
    }
    for (const picture of data.pictures) {
        if (picture.number > film.last) {
            film.queue.push({ ...picture, interval: data.interval, title: data.title })
            film.last = picture.number
        }
    }
    if (data.atOnce) {
        film.queue = film.queue.slice(-1)
        clearTimeout(film.timer)
        show()
    } else if (film.timer === null) {
        film.due = performance.now() + PATIENCE
        film.timer = setTimeout(show, PATIENCE)
    }

    function show() {
        film.timer = null
        const picture = film.queue.shift()
        if (picture === undefined) return
        image.src = `data:image/jpeg;base64,${picture.jpeg}`
        image.alt = `${picture.title} at step ${picture.step}`
        const waiting = film.queue.length * picture.interval
        film.due = Math.max(film.due ?? 0, performance.now() - 200) + (waiting > 1000 ? 0.8 : 1) * picture.interval
        film.timer = setTimeout(show, Math.max(0, film.due - performance.now()))
    }
}
