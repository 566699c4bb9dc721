// Looks at the page as it is drawn, and returns a list of what is wrong with it.
(() => {
	const wrong = []
	const name = (e) => {
		const text = (e.textContent || '').trim().replace(/\s+/g, ' ').slice(0, 40)
		return `<${e.tagName.toLowerCase()} class="${e.getAttribute('class') || ''}"> "${text}"`
	}
	const all = (selector) => [...document.querySelectorAll(selector)]
	const box = (e) => e.getBoundingClientRect()
	const seen = (e) => e.checkVisibility({visibilityProperty: true, opacityProperty: true})

	for (const d of all('details')) d.open = true

	// Nothing is wider than the window, but for what scrolls in a box of its own.
	const width = document.documentElement.clientWidth
	if (document.documentElement.scrollWidth > width) wrong.push(`the page scrolls sideways: ${document.documentElement.scrollWidth} of ${width} px`)
	const scrolls = (e) => ['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)
	for (const e of all('body *')) {
		if (!seen(e) || e.closest('svg svg, defs')) continue
		let boxed = e.parentElement
		while (boxed && !scrolls(boxed)) boxed = boxed.parentElement
		if (!boxed && (box(e).right > width + 1 || box(e).left < -1)) wrong.push(`wider than the window: ${name(e)}`)
	}

	// Text and lines stand out from what is behind them.
	const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
	const known = {}
	const rgba = (css) => known[css] ||= paint(css)
	const paint = (css) => {
		canvas.clearRect(0, 0, 1, 1)
		canvas.fillStyle = css
		canvas.fillRect(0, 0, 1, 1)
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
		return [r, g, b, a / 255]
	}
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1)
	const grounds = new Map()
	const behind = (e) => {
		if (!grounds.has(e)) grounds.set(e, ground(e))
		return grounds.get(e)
	}
	const ground = (e) => {
		const layers = []
		for (; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor))
		return layers.reverse().reduce((below, top) => over(top, below), rgba('Canvas'))
	}
	const luminance = (c) => {
		const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		return 0.2126 * r + 0.7152 * g + 0.0722 * b
	}
	const ratio = (a, b) => {
		const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y)
		return (high + 0.05) / (low + 0.05)
	}
	const shade = document.querySelector('.shade')
	const shadeColour = shade && rgba(getComputedStyle(shade).fill)
	let texts = 0
	for (const e of all('body *')) {
		if (e.closest('svg') || !seen(e)) continue
		if (![...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim())) continue
		texts++
		const style = getComputedStyle(e)
		const size = parseFloat(style.fontSize)
		const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5
		const below = [behind(e)]
		if (shadeColour && e.closest('.timeline')) below.push(shadeColour)
		for (const g of below) {
			const got = ratio(over(rgba(style.color), g), g)
			if (got < least) wrong.push(`contrast ${got.toFixed(2)} of ${least}: ${name(e)}`)
		}
		if (size < (matchMedia('print').matches ? 10 : 11)) wrong.push(`text of ${size} px: ${name(e)}`)
	}
	if (texts < 20) wrong.push(`only ${texts} texts are to be seen`)
	for (const e of all('.plot .line, .lane .band')) {
		const style = getComputedStyle(e)
		const colour = rgba(e.matches('.line') || style.fill === 'none' ? style.stroke : style.fill)
		const missing = e.closest('.missing') ? rgba(style.stroke) : colour
		for (const g of [behind(e.closest('div')), shadeColour || behind(e.closest('div'))]) {
			const got = ratio(over(missing, g), g)
			if (got < 3) wrong.push(`contrast ${got.toFixed(2)} of 3: ${name(e)}`)
		}
	}

	// What is drawn has a size.
	for (const e of all('.plot .line, .plot .area, .band, .tail, .under .shade, .over rect')) {
		const {width, height} = box(e)
		const flat = e.matches('.line') && (width > 0 || height > 0)
		if (e.matches('.tail') && e.getAttribute('width') === '0') continue
		if (seen(e) && !flat && !(width > 0 && height > 0)) wrong.push(`drawn as ${width} x ${height} px: ${name(e)}`)
	}
	for (const e of all('svg')) {
		if (seen(e) && !(box(e).width > 0 && box(e).height > 0)) wrong.push(`an empty drawing: ${name(e)}`)
	}

	// Labels neither touch one another nor are cut.
	const touch = (a, b) => a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5
	for (const group of ['.axis', '.panel', '.lane', '.verdict', '.facts', '.figures']) {
		for (const g of all(group)) {
			const labels = [...g.querySelectorAll('.x, .y, h1, h3, li, p, .no, .name, dt, dd')].filter(seen)
			labels.forEach((a, i) => labels.slice(i + 1).forEach((b) => {
				if (!a.contains(b) && !b.contains(a) && touch(box(a), box(b))) wrong.push(`${name(a)} touches ${name(b)}`)
			}))
		}
	}
	for (const e of all('.x, .y, .name, b, dd, th, h1, h2, h3')) {
		if (e.title === e.textContent && getComputedStyle(e).textOverflow === 'ellipsis') continue
		if (seen(e) && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && getComputedStyle(e).display !== 'inline') wrong.push(`cut: ${name(e)}`)
	}

	// Those who see nothing are told.
	for (const e of all('svg[role=img]')) {
		if (!e.querySelector(':scope > title')?.textContent || !e.querySelector(':scope > desc')?.textContent) wrong.push(`a drawing without title and description: ${name(e)}`)
	}
	for (const e of all('svg:not([role=img])')) {
		if (e.getAttribute('aria-hidden') !== 'true') wrong.push(`a drawing that is neither named nor hidden: ${name(e)}`)
	}
	for (const e of all('th:not([scope]), iframe:not([title]), .scroll:not([tabindex])')) wrong.push(`without scope, title or tabindex: ${name(e)}`)
	return wrong
})()
