/* server/admission.c -- a counter for each origin, in a hash table that only the main thread changes.
 *
 * Other threads only count down. A counter that is 0 stays so until the main thread raises or frees it, which it does when it
 * looks into its bucket the next time: so there are never more of them than connections that were there at a time, and
 * buckets. */
#include "server/admission.h"

#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define KEY_SIZE 8

struct origin {
	struct origin *next;
	struct admission *admission; /* borrowed: outlives its origins */
	int family;
	uint8_t key[KEY_SIZE];
	atomic_uint connections; /* shared: as in the admission */
};

/* Spec: RFC 4291, 2.5.5.2 and 2.5.4: an IPv4 address within IPv6; and 64 bits of network. */
static void name_inet6(const struct sockaddr_in6 *in6, struct origin *out)
{
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		out->family = AF_INET;
		memcpy(out->key, &in6->sin6_addr.s6_addr[12], 4);
	} else {
		memcpy(out->key, &in6->sin6_addr, 8);
	}
}

static void name_origin(const struct peer *peer, struct origin *out)
{
	const struct sockaddr_storage *any = &peer->address.sockaddr;

	*out = (struct origin){ .family = peer->address.length > 0 ? any->ss_family : AF_UNSPEC };
	switch (out->family) {
	case AF_INET:
		memcpy(out->key, &((const struct sockaddr_in *)any)->sin_addr, 4);
		break;
	case AF_INET6:
		name_inet6((const struct sockaddr_in6 *)any, out);
		break;
	case AF_UNIX:
		memcpy(out->key, &peer->uid, sizeof(peer->uid));
		break;
	case AF_VSOCK:
		memcpy(out->key, &((const struct sockaddr_vm *)any)->svm_cid, sizeof(unsigned));
		break;
	default:
		break;
	}
}

static bool is_same(const struct origin *one, const struct origin *other)
{
	return one->family == other->family && memcmp(one->key, other->key, KEY_SIZE) == 0;
}

static struct origin **bucket_of(struct admission *admission, const struct origin *origin)
{
	uint64_t hash = admission->seed ^ (uint64_t)origin->family;

	for (int i = 0; i < KEY_SIZE; i++)
		hash = (hash ^ origin->key[i]) * 0x9e3779b97f4a7c15u;
	return &admission->buckets[(hash >> 32) % ADMISSION_BUCKETS];
}

/* Frees those that have no connection, but the one that is looked for. */
static struct origin *find(struct origin **bucket, const struct origin *wanted)
{
	struct origin **link = bucket, *found = NULL;

	while (*link) {
		struct origin *one = *link;

		if (is_same(one, wanted)) {
			found = one;
		} else if (atomic_load_explicit(&one->connections, memory_order_acquire) == 0) {
			*link = one->next;
			free(one);
			continue;
		}
		link = &one->next;
	}
	return found;
}

static struct origin *add(struct admission *admission, struct origin **bucket, const struct origin *named)
{
	struct origin *origin = malloc(sizeof(*origin));

	if (!origin)
		return NULL;
	*origin = *named;
	origin->admission = admission;
	origin->next = *bucket;
	*bucket = origin;
	return origin;
}

bool admission_enter(
	struct admission *admission, const struct peer *peer, struct origin **out, enum close_reason *why)
{
	struct origin named, **bucket, *origin;

	*why = CLOSE_connections_max;
	if (atomic_load_explicit(&admission->connections, memory_order_relaxed) >= admission->connections_max)
		return false;
	name_origin(peer, &named);
	bucket = bucket_of(admission, &named);
	origin = find(bucket, &named);
	if (!origin)
		origin = add(admission, bucket, &named);
	*why = origin ? CLOSE_per_address_max : CLOSE_memory;
	if (!origin ||
		atomic_load_explicit(&origin->connections, memory_order_relaxed) >= admission->per_origin_max)
		return false;
	atomic_fetch_add_explicit(&origin->connections, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&admission->connections, 1, memory_order_relaxed);
	*out = origin;
	return true;
}

void origin_leave(struct origin *origin)
{
	atomic_fetch_sub_explicit(&origin->admission->connections, 1, memory_order_relaxed);
	/* Once it is 0, the main thread may free it: the last thing done to it. */
	atomic_fetch_sub_explicit(&origin->connections, 1, memory_order_release);
}

void admission_init(struct admission *admission, unsigned connections_max, unsigned per_origin_max)
{
	*admission = (struct admission){
		.connections_max = connections_max,
		.per_origin_max = per_origin_max,
	};
	/* Without randomness, early at boot, only the defence against chosen buckets is lost. */
	if (getrandom(&admission->seed, sizeof(admission->seed), GRND_NONBLOCK) < 0)
		admission->seed = 1;
}

void admission_fini(struct admission *admission)
{
	for (int i = 0; i < ADMISSION_BUCKETS; i++) {
		struct origin *next;

		for (struct origin *one = admission->buckets[i]; one; one = next) {
			next = one->next;
			free(one);
		}
	}
}
