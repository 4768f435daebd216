/* server/limits.h -- every bound on what a client can make the server do, with its reason.
 *
 * Memory that clients can pin: --memory in all; CONNECTION_RESERVE, RECEIVE_BYTES and some 200 KiB for each of --connections
 * (with TLS, 512 KiB more); and POOL_BYTES_MAX for each worker.
 */
#pragma once

/* Connections at a time, in their handshake or after it; one more is closed at once. Bounds descriptors and memory.
 * --connections, for a server of many virtual machines: each has one to four. */
#define CONNECTIONS_DEFAULT 1024
#define CONNECTIONS_MOST    65536

/* The part of them that one origin (server/admission.h) may have, so that there is always room for others.
 * --connections-per-address, since only the operator knows whether clients come from one address or from many. */
#define CONNECTIONS_PER_ADDRESS_PART 2

/* Descriptors beside those of connections: for exports, listeners, rings, and some to spare. */
#define DESCRIPTORS_SPARE 64

/* Connections that wait for accept(2) in the kernel: a burst of clients after a restart. */
#define LISTEN_BACKLOG 1024

/* Connections accepted before other events of the main thread get their turn. */
#define ACCEPTS_PER_TURN 64

/* How long we do not accept after the system ran out of descriptors or memory: the listening socket stays readable
 * meanwhile, and an immediate retry would spin. */
#define ACCEPT_PAUSE_S 0.2

/* From accept(2) to the end of the handshake. A person who types options by hand still makes it. --handshake-timeout: under
 * attack, a connection that says nothing keeps its place for so long. */
#define HANDSHAKE_DEADLINE_S	  30
#define HANDSHAKE_DEADLINE_MOST_S 3600

/* Connections that follow others of their client (server/succession.h) and wait for those to end, or have given that up; one more is
 * closed at once. Only a disk that does not answer makes them wait for long. */
#define SUCCESSIONS_MAX 1024

/* Longest data of one option: an export name of 4096 bytes and what goes with it, such as queries of as much. */
#define OPTION_DATA_MAX 16384

/* A longer option is read and refused up to here, so that a client with a modest error hears of it; beyond, it is
 * taken for an attack. */
#define OPTION_SKIP_MAX (64u << 10)

/* Options of one connection; and beside them, as clients that list a server (qemu-nbd --list) ask more about each export, for each
 * that it was told in the last list. */
#define OPTIONS_MAX	   4096
#define OPTIONS_PER_EXPORT 3

/* What a session receives at once: hundreds of requests, or 64 writes of 4 KiB with their data; less cuts the batches of
 * clients that write (measured: 64 KiB costs a write 10% more). Only what is used takes memory. */
#define RECEIVE_BYTES (256u << 10)

/* What it receives at once, bytes, while that is little, so that an idle connection needs none of the former; and how many
 * such buffers a worker has for all its connections: so many at first, as many more where that was too few, at most so
 * many. */
#define RECEIVE_SMALL	   4096
#define RECEIVE_SMALL_STEP 16
#define RECEIVE_SMALL_MAX  512

/* A payload that lacks this much is received alone, in one operation that the kernel ends when all is there; one that
 * lacks less is received together with what follows it. */
#define RECEIVE_WHOLE_MIN (128u << 10)

/* After a payload of this much the next header is received alone, so that the payload behind it goes straight into its
 * buffer: one more operation is then cheaper than copying. Measured: writes of 128 KiB and more cost a tenth to a sixth less, of
 * 64 KiB two fifths more. */
#define RECEIVE_BULK_MIN (128u << 10)

/* Requests of one connection between their header and their reply; when full the socket is not read. Clients in the
 * wild keep 16 to 256 in flight. */
#define CONNECTION_REQUESTS_MAX 512

/* Data of the requests of one connection, bytes; one request alone may always have what NBD allows. Covers two of the
 * largest, or 64 requests of 1 MiB. */
#define CONNECTION_BYTES_MAX (64u << 20)

/* What a connection may hold of that without asking, bytes: small requests never wait for the large ones of others. */
#define CONNECTION_RESERVE (256u << 10)

/* What all connections may hold together beyond their reserves, bytes; those that want more wait for their turn. Sixteen large
 * requests at a time keep disks and networks busy. --memory: there may be less to spare, or more clients of large requests.
 * At least what one connection may have. */
#define MEMORY_DEFAULT (512u << 20)
#define MEMORY_LEAST   CONNECTION_BYTES_MAX

/* It is taken and given back in steps, bytes, and not for every request. */
#define MEMORY_STEP (1u << 20)

/* While others wait for memory, a connection that holds some has this long to send a payload or to take a message of replies
 * (SEND_BYTES_MAX), and a second more for each HOLD_BYTES_PER_S: one that stalls is closed, or it could stop all of them. */
#define HOLD_GRACE_S	 5
#define HOLD_BYTES_PER_S (1u << 20)

/* Data of the requests that a connection starts in one turn, bytes: their replies leave before the next ones are read,
 * from buffers that are still in the processor's second cache, and other connections get their turn. Measured: 1 MiB here
 * makes reads of 16 KiB to 256 KiB a third to a half dearer. */
#define TURN_BYTES_MAX (256u << 10)

/* Data of the large requests, those of more than TURN_LARGE, that all connections of a worker start in one turn, bytes; one
 * always may. What is small and comes meanwhile waits for some milliseconds of copying, however many others want more. */
#define TURN_LARGE	     (32u << 10)
#define TURN_LARGE_BYTES_MAX (4u << 20)

/* Requests that it starts in one turn where it shares its worker with others that have some, too: theirs are not to wait for a
 * whole batch. A few more system calls for a client that writes much. */
#define TURN_REQUESTS_MAX 4

/* Turns of others' for which that holds after each of their requests. */
#define TURNS_SHARED 64

/* Data of the replies in one send, bytes; the reply that reaches it is the last. */
#define SEND_BYTES_MAX (1u << 20)

/* Extents in one reply to a block status: as many as are found in some milliseconds. Its client asks on behind them; the
 * specification would allow 2^20. */
#define STATUS_EXTENTS_MAX 4096

/* Headers of the replies in one send, bytes, and entries of its iovec: two a reply with data. The kernel takes at most
 * 1024. */
#define SEND_HEADER_BYTES (8u << 10)
#define SEND_IOVECS	  512

/* Ciphertext of one TLS connection, bytes: received and not yet decrypted, and encrypted and not yet sent; 15 records.
 * Only what is used takes memory. */
#define TLS_RECEIVE_BYTES (256u << 10)
#define TLS_SEND_BYTES	  (256u << 10)

/* Free buffers and requests that a worker keeps for the next ones. */
#define POOL_BYTES_MAX	  (64u << 20)
#define POOL_REQUESTS_MAX 4096

/* A connection whose peer no longer answers ends after KEEPALIVE_IDLE_S + KEEPALIVE_COUNT * KEEPALIVE_INTERVAL_S. */
#define KEEPALIVE_IDLE_S     60
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT	     6

/* From a client's last request (NBD_CMD_DISC, or the end of its stream) until it has taken the replies to the others. */
#define FINISH_DEADLINE_S 10

/* How often a worker looks after connections that one of the deadlines above is for; it does not where there are none. */
#define TICK_MS 250

/* From SIGTERM until connections whose requests or replies are still on the way are closed anyway. Systemd would kill
 * after 90. */
#define DRAIN_DEADLINE_S 10.0

/* How often we look whether exports have shrunk: until then a write behind the new end of a file makes it longer again.
 * It costs a system call for each export that has clients. Growth is found at once, by the request that needs it. */
#define MEASURE_S 1.0

/* Exports without clients that are looked at then, for the log's sake: 10,000 at once kept a CPU busy for 22 ms of each
 * second. */
#define MEASURE_IDLE_MAX 256

/* Lines a second about closed connections, so that a hostile client cannot fill the log; the rest is counted. */
#define CLOSE_LINES_PER_S 10

/* The longest time in a fault rule: a delay that nobody would wait for is no test. */
#define FAULT_TIME_MAX_S 3600

/* Fault rules of one export, or of the server: each request looks at all of them. */
#define FAULT_RULES_MAX 256

/* Lines a second about faults that fired; the rest is counted. */
#define FAULT_LINES_PER_S 20

/* What one rule keeps of an export's bytes as they were when it was added, and in which pieces, bytes: what is overwritten
 * beyond that is not kept. */
#define FAULT_OLD_BYTES_MAX (16u << 20)
#define FAULT_OLD_BLOCK	    4096

/* A reply that waits to be overtaken goes after this long, if no other comes. */
#define FAULT_REORDER_MS 1000

/* Requests that are delayed, replies that are withheld and ghost writes have no bound of their own: each keeps its place among
 * CONNECTION_REQUESTS_MAX and CONNECTION_BYTES_MAX, and a ghost its connection's place among --connections. */

/* Threads. */
#define WORKERS_MAX 256
