/* A fake libnvidia-ml.so.1: one card in MIG mode with a slice and one whole card, whose answers a
 * test sets in the variables below. Layouts are those of NVIDIA's nvml.h. */
#include <stdio.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, LOST = 15 };

struct card {
    const char *uuid, *name;
    int index;
};
static struct card whole = {"GPU-whole", "NVIDIA H200", 1};
static struct card parent = {"GPU-parent", "NVIDIA A100", 0};
static struct card slice = {"MIG-slice", "NVIDIA A100 MIG 1g.5gb", 7};

int fake_init_result = OK;
int fake_lost = 0;
int fake_plain_name = 0;
int fake_recovery = 0;
int fake_tells_recovery = 1;
int fake_pending_rows = 0;
int fake_processes = 0;
int fake_old_memory = 0;
unsigned long long fake_xid = 0;
unsigned int fake_xid_instance = 0xFFFFFFFF;
unsigned int fake_registered = 0;

static int text(char *into, unsigned int size, const char *what)
{
    snprintf(into, size, "%s", what);
    return OK;
}

int nvmlInitWithFlags(unsigned int flags) { (void)flags; return fake_init_result; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "some error"; }
int nvmlSystemGetDriverVersion(char *to, unsigned int size) { return text(to, size, "590.1"); }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, struct card **to)
{
    *to = index == 0 ? &parent : &whole;
    return OK;
}

int nvmlDeviceGetUUID(struct card *card, char *to, unsigned int size)
{
    return text(to, size, card->uuid);
}

int nvmlDeviceGetName(struct card *card, char *to, unsigned int size)
{
    return text(to, size, fake_plain_name ? parent.name : card->name);
}

int nvmlDeviceGetMinorNumber(struct card *card, unsigned int *to) { *to = card->index; return OK; }

int nvmlDeviceGetCudaComputeCapability(struct card *card, int *major, int *minor)
{
    if (card == &slice)
        return NOT_SUPPORTED;
    *major = card == &whole ? 9 : 8;
    *minor = 0;
    return OK;
}

int nvmlDeviceGetMigMode(struct card *card, unsigned int *now, unsigned int *pending)
{
    if (card == &whole)
        return NOT_SUPPORTED;
    *now = *pending = 1;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(struct card *card, unsigned int *to)
{
    (void)card;
    *to = 7;
    return OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct card *card, unsigned int index, struct card **to)
{
    (void)card;
    *to = &slice;
    return index == 2 ? OK : NOT_FOUND;
}

int nvmlDeviceGetGpuInstanceId(struct card *card, unsigned int *to) { *to = card->index; return OK; }
int nvmlDeviceGetComputeInstanceId(struct card *c, unsigned int *to) { (void)c; *to = 0; return OK; }

int nvmlDeviceGetAttributes_v2(struct card *card, void *to)
{
    struct { unsigned int counts[8]; unsigned long long megabytes; } shape = {{0}, 4864};
    (void)card;
    shape.counts[6] = 1;
    memcpy(to, &shape, sizeof shape);
    return OK;
}

int nvmlDeviceGetMemoryInfo(struct card *card, unsigned long long *to)
{
    to[0] = card == &slice ? 5ULL << 30 : 140ULL << 30;
    to[2] = 3ULL << 30;
    to[1] = to[0] - to[2];
    return fake_lost ? LOST : OK;
}

int nvmlDeviceGetMemoryInfo_v2(struct card *card, void *to)
{
    struct { unsigned int version; unsigned long long total, reserved, free, used; } *info = to;
    (void)card;
    if (fake_old_memory)
        return NOT_SUPPORTED;
    if (info->version != (sizeof *info | 2u << 24))
        return 25;
    info->used = 2ULL << 30;
    return fake_lost ? LOST : OK;
}

int nvmlDeviceGetUtilizationRates(struct card *card, unsigned int *to)
{
    to[0] = 75;
    to[1] = 10;
    return card == &slice ? NOT_SUPPORTED : OK;
}

int nvmlDeviceGetPowerUsage(struct card *card, unsigned int *to)
{
    *to = 312500;
    return card == &slice ? NOT_SUPPORTED : OK;
}

int nvmlDeviceGetTotalEnergyConsumption(struct card *card, unsigned long long *to)
{
    *to = 1234500;
    return card == &slice ? NOT_SUPPORTED : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(struct card *card, unsigned int *count, void *to)
{
    struct { unsigned int pid; unsigned long long memory; unsigned int gi, ci; } *list = to;
    unsigned int have = card == &whole ? fake_processes : 0;
    if (fake_lost)
        return LOST;
    if (have > *count) {
        *count = have;
        return INSUFFICIENT_SIZE;
    }
    *count = have;
    for (unsigned int one = 0; one < have; one++)
        list[one].pid = 4712 - one;
    return OK;
}

int nvmlDeviceGetTotalEccErrors(struct card *card, int type, int counter, unsigned long long *to)
{
    *to = type == 1 && counter == 0 ? 4 : 99;
    return card == &slice ? NOT_SUPPORTED : OK;
}

int nvmlDeviceGetRemappedRows(struct card *card, unsigned int *corrected, unsigned int *uncorrected,
                              unsigned int *pending, unsigned int *failed)
{
    (void)card;
    *corrected = *uncorrected = *failed = 0;
    *pending = fake_pending_rows;
    return OK;
}

int nvmlDeviceGetFieldValues(struct card *card, int count, void *to)
{
    struct {
        unsigned int field, scope;
        long long time, latency;
        int type, result;
        union { double d; unsigned int ui; unsigned long long ull; } value;
    } *values = to;
    (void)card;
    for (int one = 0; one < count; one++) {
        values[one].result = fake_tells_recovery ? OK : NOT_SUPPORTED;
        values[one].value.ui = fake_recovery;
    }
    return OK;
}

int nvmlEventSetCreate(void **to) { *to = &whole; return OK; }

int nvmlDeviceRegisterEvents(struct card *card, unsigned long long kinds, void *set)
{
    (void)card, (void)set;
    fake_registered += kinds == 8;
    return OK;
}

int nvmlEventSetWait_v2(void *set, void *to, unsigned int timeout)
{
    struct { struct card *card; unsigned long long kind, data; unsigned int gi, ci; } *event = to;
    (void)set, (void)timeout;
    if (!fake_xid)
        return TIMEOUT;
    event->card = &parent;
    event->kind = 8;
    event->data = fake_xid;
    event->gi = fake_xid_instance;
    fake_xid = 0;
    return OK;
}
