package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// none is the text of a missing figure in tables.
const none = "–"

// count returns a number with a comma after each three digits, such as "12,345".
func count(n int) string {
	digits := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// counted returns a number and the noun it counts, in the plural unless it is 1.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// seconds returns a time that is usually short, such as "1.25 s", and none for a
// negative one.
func seconds(s float64) string {
	if s < 0 {
		return none
	}
	if s >= 100 {
		return length(s)
	}
	return strconv.FormatFloat(s, 'f', 2, 64) + " s"
}

// milliseconds returns a latency, such as "2.6 ms" or "1,198 ms", and none for 0.
func milliseconds(ms float64) string {
	if ms <= 0 {
		return none
	}
	if ms < 10 {
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	}
	return count(int(math.Round(ms))) + " ms"
}

// length returns a duration in its two largest units, such as "1 h 30 min".
func length(s float64) string {
	whole := int(math.Round(s))
	units := []struct {
		size int
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}}
	var parts []string
	for _, u := range units {
		if n := whole / u.size; n > 0 && len(parts) < 2 {
			parts = append(parts, fmt.Sprintf("%d %s", n, u.name))
			whole -= n * u.size
		} else if len(parts) > 0 {
			break
		}
	}
	if parts == nil {
		return "0 s"
	}
	return strings.Join(parts, " ")
}

// moment returns a time since the run's beginning, such as "83.2 s", "1:23.2" or
// "2:01:23". A run of at most three minutes counts seconds.
func moment(s, whole float64) string {
	switch {
	case whole <= 180:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	case whole < 3600:
		tenths := int(math.Round(s * 10))
		return fmt.Sprintf("%d:%02d.%d", tenths/600, tenths/10%60, tenths%10)
	default:
		n := int(math.Round(s))
		return fmt.Sprintf("%d:%02d:%02d", n/3600, n/60%60, n%60)
	}
}

// tickMoment is moment without the parts that are zero at all ticks.
func tickMoment(s, whole float64) string {
	n := int(math.Round(s))
	switch {
	case whole <= 180:
		return fmt.Sprintf("%d s", n)
	case whole < 3600:
		return fmt.Sprintf("%d:%02d", n/60, n%60)
	default:
		return fmt.Sprintf("%d:%02d h", n/3600, n/60%60)
	}
}

// share returns a part of one as a percentage, and none for NaN.
func share(part float64) string {
	if math.IsNaN(part) || math.IsInf(part, 0) {
		return none
	}
	return strconv.FormatFloat(part*100, 'f', 0, 64) + " %"
}

// date returns a time as people write it, in UTC, and none for the zero time.
func date(t time.Time) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// orNone returns the text, and none if there is none.
func orNone(text string) string {
	if strings.TrimSpace(text) == "" {
		return none
	}
	return text
}
