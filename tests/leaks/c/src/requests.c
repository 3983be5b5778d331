/* Every request that was seen, the latest first. None is ever removed. */

typedef __SIZE_TYPE__ size_t;

/* Declared here, so that no header of a C library is needed; wasi-libc is linked by Rust. */
void *malloc(size_t size);
void *memcpy(void *to, const void *from, size_t bytes);

#define BEGINNING 896

/* 900 bytes where a pointer has four. */
struct node {
    struct node *next;
    unsigned char beginning[BEGINNING];
};

static struct node *requests;

/* Keeps the beginning of a body. Gives how many bytes it kept. */
size_t remember(const unsigned char *body, size_t bytes) {
    struct node *node = malloc(sizeof(struct node));
    if (!node) {
        return 0;
    }
    size_t kept = bytes < BEGINNING ? bytes : BEGINNING;
    memcpy(node->beginning, body, kept);
    node->next = requests;
    requests = node;
    return kept;
}
