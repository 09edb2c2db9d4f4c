// User-mode Linux 6.1 carries 2,696 bytes of a process's floating-point registers. On a processor with more registers (AMX), the
// kernel refuses to set less than all: "ptrace set fp regs failed". This library, loaded before libc, fills in the rest.

#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define X86_XSTATE 0x202
#define XSTATE_BV 512
// The registers that user-mode Linux does not carry keep their first values.
#define TILES (3UL << 17)

static long ask(long request, long pid, void *address, void *data) {
  return syscall(SYS_ptrace, request, pid, address, data);
}

long ptrace(enum __ptrace_request request, ...) {
  va_list arguments;
  va_start(arguments, request);
  pid_t pid = va_arg(arguments, pid_t);
  void *address = va_arg(arguments, void *);
  void *data = va_arg(arguments, void *);
  va_end(arguments);
  if (request == PTRACE_SETREGSET && (long)address == X86_XSTATE) {
    static __thread unsigned char registers[65536] __attribute__((aligned(64)));
    struct iovec *given = data, all = {registers, sizeof registers};
    if (ask(PTRACE_GETREGSET, pid, address, &all) < 0) return -1;
    size_t length = given->iov_len < all.iov_len ? given->iov_len : all.iov_len;
    memcpy(registers, given->iov_base, length);
    if (length < all.iov_len) *(unsigned long *)(registers + XSTATE_BV) &= ~TILES;
    return ask(request, pid, address, &all);
  }
  if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
    // The system call writes the word to an address, and libc gives it back.
    long word = 0;
    if (ask(request, pid, address, &word) < 0) return -1;
    errno = 0;
    return word;
  }
  return ask(request, pid, address, data);
}
