// Package strictjson reads JSON texts of known shape, and names the place of what is wrong
// with them.
//
// It refuses more than encoding/json does: unknown members, members that are given twice or
// in another case, null, numbers that are no integers or out of range, bytes that are not
// UTF-8, halves of surrogate pairs, and anything after the text. A request to change data
// must not be misunderstood, and encoding/json would replace or ignore these.
package strictjson
