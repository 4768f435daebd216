/* conf/send_queue.h -- what waits in a socket between two processes of one host. */
#pragma once

/* Of data; the kernel takes them twice, for its own books. What is in it, and where the other end puts it, are in the processor's
 * second cache then (here one of 1 MiB). Measured: a read of 256 KiB, 8 in flight, takes 45 us with 128 KiB, 36 with 320, 83 with
 * 512, and 36 to 83 from one second to the next where TCP chooses. */
#define SEND_QUEUE_BYTES (320 << 10)

/* send_queue_bound() - @fd, a connected socket whose other end is on this host (a Unix socket, or TCP with one address at both
 * ends), has room for SEND_QUEUE_BYTES from now on, and no more: what is sent is taken by the other end while it is still
 * in the processor's cache. Otherwise TCP grows its queue to megabytes, as far networks need it: there all stays as it
 * is, and so does @fd where this fails. Spec: socket(7), SO_SNDBUF; tcp(7). */
void send_queue_bound(int fd);
