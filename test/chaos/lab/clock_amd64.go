//go:build linux

package lab

import (
	"encoding/binary"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// skewCode is a clock_gettime(clock, time) that asks the kernel, and adds ahead to
// CLOCK_REALTIME, which is 0.
func skewCode(ahead time.Duration) []byte {
	const second = int64(time.Second)
	seconds, nanos := int64(ahead)/second, int64(ahead)%second
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+second
	}
	add := slices.Concat(
		[]byte{0x48, 0xb9}, number(seconds), // mov rcx, seconds
		[]byte{0x48, 0x01, 0x0e},               // add [rsi], rcx
		[]byte{0x48, 0x8b, 0x4e, 0x08},         // mov rcx, [rsi+8]
		[]byte{0x48, 0x81, 0xc1}, short(nanos), // add rcx, nanos
		[]byte{0x48, 0x81, 0xf9}, short(second), // cmp rcx, second
		[]byte{0x7c, 10},                        // jl over the next two
		[]byte{0x48, 0x81, 0xe9}, short(second), // sub rcx, second
		[]byte{0x48, 0xff, 0x06},       // inc qword [rsi]
		[]byte{0x48, 0x89, 0x4e, 0x08}, // mov [rsi+8], rcx
	)
	return slices.Concat(
		[]byte{0xb8}, short(unix.SYS_CLOCK_GETTIME), // mov eax, the call's number
		[]byte{0x0f, 0x05},           // syscall, which keeps rdi and rsi
		[]byte{0x89, 0xf9},           // mov ecx, edi
		[]byte{0x09, 0xc1},           // or ecx, eax
		[]byte{0x75, byte(len(add))}, // jnz over add: another clock, or an error
		add,
		[]byte{0xc3}, // ret
	)
}

// number and short encode the operands of instructions.
func number(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
func short(n int64) []byte  { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
