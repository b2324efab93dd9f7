// A certified OpenID provider for the tests of single sign-on, with people of its own and a sign-in form of one field.
// node oidc_provider.mjs FOLDER-WITH-NODE_MODULES PORT '{"console": "http://...", "people": {"lee": {"platen_role": ...}}}'
import { createServer } from "node:http";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, port, text] = process.argv.slice(2);
const place = resolve(folder, "node_modules/oidc-provider/lib/index.js");
const { Provider } = await import(pathToFileURL(place).href);
const { console: served, people } = JSON.parse(text);

const provider = new Provider(`http://localhost:${port}`, {
  clients: [
    {
      client_id: "platen",
      client_secret: "a secret of the tests: with signs/that+need%care",
      redirect_uris: [`${served}/sign-in/back`],
      post_logout_redirect_uris: [`${served}/sign-in`],
    },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username", "platen_role", "platen_customer"], email: ["email"] },
  cookies: { keys: ["a key of the tests"] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
  pkce: { required: () => true },
  findAccount: (_ctx, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  // whoever signs in here has agreed
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid profile email");
    await grant.save();
    return grant;
  },
});

async function form(request) {
  let body = "";
  for await (const piece of request) body += piece;
  return new URLSearchParams(body);
}

const answer = provider.callback();
createServer(async (request, response) => {
  if (!request.url.startsWith("/interaction/")) return answer(request, response);
  if (request.method === "POST") {
    const login = { accountId: (await form(request)).get("name") };
    return provider.interactionFinished(request, response, { login });
  }
  response.setHeader("content-type", "text/html");
  return response.end('<form method="post"><label>Name <input name="name" autofocus></label><button>Enter</button></form>');
}).listen(Number(port), "localhost", () => process.stdout.write("ready\n"));
