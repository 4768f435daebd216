/* virtio/foreign_memory.c -- a table of mappings, for the handler of SIGBUS.
 *
 * The handler takes no lock. It runs on a thread that has just touched a mapping, which stays in its slot as long as anybody
 * uses it; slots of others may change meanwhile, so a slot counts only if its base is the same before and after the look.
 */
#include "virtio/foreign_memory.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

struct slot {
	_Atomic(uintptr_t) base; /* shared: 0: free */
	atomic_size_t length;
	atomic_size_t grain;
	atomic_bool lost;
};

static struct slot slots[FOREIGN_MAPS_MAX];
static atomic_uint slots_used; /* shared: none from here on was ever used */
static atomic_uint losses;     /* shared */
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;

static struct slot *slot_at(uintptr_t address)
{
	unsigned used = atomic_load(&slots_used);

	for (unsigned i = 0; i < used; i++) {
		struct slot *slot = &slots[i];
		uintptr_t base = atomic_load(&slot->base);

		if (base && address >= base && address - base < atomic_load(&slot->length) &&
			atomic_load(&slot->base) == base)
			return slot;
	}
	return NULL;
}

/* Returns whether @address can be touched now. */
static bool replace(uintptr_t address)
{
	struct slot *slot = slot_at(address);
	uintptr_t base, piece;
	size_t grain;

	if (!slot)
		return false;
	base = atomic_load(&slot->base);
	grain = atomic_load(&slot->grain);
	piece = base + ((address - base) & ~(uintptr_t)(grain - 1));
	if (mmap((void *)piece, grain, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		    0) == MAP_FAILED)
		return false;
	atomic_store(&slot->lost, true);
	atomic_fetch_add(&losses, 1);
	return true;
}

/* Anything else is a bug of ours or broken hardware: that kills us when it happens again, right behind this. */
static void on_sigbus(int number, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	if (info->si_code != BUS_ADRERR || !replace((uintptr_t)info->si_addr))
		signal(number, SIG_DFL);
	errno = saved;
}

/* With every mapping: whoever else thinks of a handler of his own does so earlier. */
static void install_handler(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
}

static struct slot *slot_free(void)
{
	for (unsigned i = 0; i < FOREIGN_MAPS_MAX; i++) {
		if (atomic_load(&slots[i].base))
			continue;
		if (i >= atomic_load(&slots_used))
			atomic_store(&slots_used, i + 1);
		return &slots[i];
	}
	return NULL;
}

static void *map_into(struct slot *slot, int fd, off_t offset, size_t length, size_t grain)
{
	void *base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	if (base == MAP_FAILED)
		return NULL;
	atomic_store(&slot->length, length);
	atomic_store(&slot->grain, grain);
	atomic_store(&slot->lost, false);
	atomic_store(&slot->base, (uintptr_t)base);
	return base;
}

void *foreign_memory_map(int fd, off_t offset, size_t length, size_t grain)
{
	struct slot *slot;
	void *base = NULL;

	pthread_mutex_lock(&changing);
	install_handler();
	slot = slot_free();
	if (slot)
		base = map_into(slot, fd, offset, length, grain);
	else
		errno = ENOMEM;
	pthread_mutex_unlock(&changing);
	return base;
}

void foreign_memory_unmap(void *base)
{
	struct slot *slot;
	size_t length;

	pthread_mutex_lock(&changing);
	slot = slot_at((uintptr_t)base);
	length = atomic_load(&slot->length);
	atomic_store(&slot->base, 0);
	pthread_mutex_unlock(&changing);
	munmap(base, length);
}

unsigned foreign_memory_losses(void)
{
	return atomic_load_explicit(&losses, memory_order_relaxed);
}

bool foreign_memory_is_lost(const void *address)
{
	const struct slot *slot = slot_at((uintptr_t)address);

	return slot && atomic_load(&slot->lost);
}

void foreign_memory_touch(const void *from, size_t length)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const volatile char *at = from, *last = at + length - 1;

	if (length == 0)
		return;
	for (; at < last; at += page)
		(void)*at;
	(void)*last;
}
