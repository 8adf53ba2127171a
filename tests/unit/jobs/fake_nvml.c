/* The driver's library libnvidia-ml.so.1 for a machine that a text file describes, for tests of what reads it.

   The file is named by FAKE_NVML and read at every nvmlInit. Lines, in the order of nvidia-smi:
       init CODE                                the answer of nvmlInit; without one it is 0
       gpu UUID CODE SPLIT USED TOTAL           CODE: the answer to "give me this GPU"; SPLIT: 1 for a GPU in MIG mode
       instance UUID GPU COMPUTE USED TOTAL     an instance of the GPU before it, with its two ids
   Without the variable the library answers that it is not there. Signatures: NVML API reference. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, LIBRARY_NOT_FOUND = 12, MOST = 16 };

typedef struct Device {
    char uuid[96];
    int code, split, ids[2], instances;
    unsigned long long used, total;
    struct Device *instance[MOST];
} Device;

static Device devices[MOST * 4], *gpus[MOST];
static int made, count;

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return LIBRARY_NOT_FOUND;
    char line[256];
    int code = SUCCESS;
    made = count = 0;
    memset(devices, 0, sizeof devices);
    while (fgets(line, sizeof line, file)) {
        Device *device = &devices[made];
        if (sscanf(line, "init %d", &code) == 1) continue;
        if (sscanf(line, "gpu %95s %d %d %llu %llu", device->uuid, &device->code, &device->split, &device->used,
                   &device->total) == 5) {
            gpus[count++] = &devices[made++];
        } else if (sscanf(line, "instance %95s %d %d %llu %llu", device->uuid, &device->ids[0], &device->ids[1],
                          &device->used, &device->total) == 5) {
            Device *parent = gpus[count - 1];
            parent->instance[parent->instances++] = &devices[made++];
        }
    }
    fclose(file);
    return code;
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
        case 4: return "Insufficient Permissions";
        case 9: return "Driver Not Loaded";
        case 12: return "NVML Shared Library Not Found";
        case 15: return "GPU is lost";
        case 18: return "Driver/library version mismatch";
        default: return "Unknown Error";
    }
}

int nvmlDeviceGetCount_v2(unsigned *number) {
    *number = count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **handle) {
    *handle = gpus[index];
    return gpus[index]->code;
}

static int text(char *into, unsigned room, const char *value) {
    snprintf(into, room, "%s", value);
    return SUCCESS;
}

int nvmlDeviceGetUUID(Device *device, char *into, unsigned room) { return text(into, room, device->uuid); }

int nvmlDeviceGetName(Device *device, char *into, unsigned room) {
    (void)device;
    return text(into, room, "NVIDIA Test 80GB");
}

int nvmlDeviceGetMigMode(Device *device, unsigned *current, unsigned *pending) {
    *current = *pending = device->split;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(Device *device, unsigned *number) {
    *number = device->split ? 7 : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned index, Device **handle) {
    /* Instances need not be at the first places. */
    if (index == 0 || (int)index > device->instances) return NOT_FOUND;
    *handle = device->instance[index - 1];
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(Device *device, unsigned *id) { return *id = device->ids[0], SUCCESS; }

int nvmlDeviceGetComputeInstanceId(Device *device, unsigned *id) { return *id = device->ids[1], SUCCESS; }

int nvmlDeviceGetMemoryInfo(Device *device, unsigned long long *total_free_used) {
    if (!device->total) return NOT_SUPPORTED;
    total_free_used[0] = device->total;
    total_free_used[1] = device->total - device->used;
    total_free_used[2] = device->used;
    return SUCCESS;
}
