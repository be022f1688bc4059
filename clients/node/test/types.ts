// Compiled and never run: the types allow what is right, and refuse what is not.
import { ApiError, Client, signToken, verifyWebhook } from 'encke-backend';

export async function right(client: Client, signal: AbortSignal): Promise<string[]> {
  const pushed = await client.push({ to: ['alice'], data: { a: [1, null] }, ttlS: 60 }, { signal });
  await client.push({ to: 'online', url: 'https://example.com/' });
  await client.close({ user: 'alice', banS: 60 });
  await client.revoke({ before: new Date() });
  const codes: string[] = [];
  for await (const result of client.pushStream([{ to: 'all', data: null }], { window: 1 }))
    codes.push(result instanceof ApiError ? result.code : result.id);
  for await (const receipt of client.receipts(pushed.id)) codes.push(receipt.state);
  const event = verifyWebhook(new Headers(), new Uint8Array(), ['whsec_']);
  return [...codes, signToken('secret', 'alice', { channels: ['*'] }), event.type];
}

export async function wrong(client: Client): Promise<void> {
  // @ts-expect-error a name is no list of users
  await client.push({ to: 'alice', data: 1 });
  // @ts-expect-error neither data nor a page
  await client.push({ to: ['alice'] });
  // @ts-expect-error both
  await client.push({ to: ['alice'], data: 1, url: 'https://example.com/' });
  // @ts-expect-error of nothing
  await client.close({});
}
