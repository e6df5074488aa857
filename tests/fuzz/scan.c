/* Any octets, cut anywhere, are walked to the same end, without a read outside of them and without an allocation.
 *
 * A libFuzzer target for csrc/scan.h. The first two octets choose the threshold and where the cuts are.
 */
#include <stdio.h>
#include <stdlib.h>

#include "scan.h"
#include "text.h"

typedef struct {
    scan_result result;
    size_t position, larges, large_octets;
} ending;

#define REQUIRE(holds)                               \
    if (!(holds)) {                                  \
        fprintf(stderr, "broken law: %s\n", #holds); \
        abort();                                     \
    }

/* Walk data as it arrives in pieces of `step` octets, each time in a block of its own size. */
static ending walk(const uint8_t *data, size_t size, size_t step, size_t threshold) {
    ending end = {SCAN_MORE, 0, 0, 0};
    etf_scan scan;
    etf_scan_init(&scan);
    for (size_t available = step < size ? step : size;; available = size - available > step ? available + step : size) {
        uint8_t *block = (uint8_t *)malloc(available);
        if (available) memcpy(block, data, available);
        while (end.position <= available) {
            size_t before = end.position, binary = 0, need = 0;
            end.result = etf_scan_feed(&scan, block, available, threshold, &end.position, &binary, &need);
            REQUIRE(end.position >= before && end.position <= available)
            if (end.result != SCAN_LARGE) {
                REQUIRE(end.result != SCAN_MORE || need > 0)
                break;
            }
            REQUIRE(binary >= threshold)
            end.position += binary;
            end.larges++;
            end.large_octets += binary;
        }
        free(block);
        if (available == size || end.result == SCAN_DONE || end.result == SCAN_MALFORMED) return end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t threshold = data[0] & 1 ? data[0] : SIZE_MAX, step = (size_t)data[1] + 1;
    data += 2;
    size -= 2;
    ending whole = walk(data, size, size ? size : 1, threshold);
    ending cut = walk(data, size, step, threshold);
    REQUIRE(whole.result == cut.result && whole.position == cut.position)
    REQUIRE(whole.larges == cut.larges && whole.large_octets == cut.large_octets)

    uint8_t *text = (uint8_t *)malloc(size);
    if (size) memcpy(text, data, size);
    uint32_t words[5];
    uint8_t out[REFERENCE_TEXT_OCTETS];
    int count = reference_text_get(text, size, "#Ref<", words, 5);
    if (count) REQUIRE(reference_text_put(out, "#Ref<", words, count) == size && memcmp(out, text, size) == 0)
    free(text);
    return 0;
}
